"""Files that are to be deleted from object storage: queued in a transaction, then deleted."""

from core.store.database import Connection

LIST_FILES = """
SELECT object_key FROM file_deletions WHERE requested_at <= now() ORDER BY requested_at LIMIT $1
"""
# A file that was stored again under the same key since is kept.
TAKE_FILE = """
DELETE FROM file_deletions AS f WHERE f.object_key = $1 AND f.requested_at <= now()
RETURNING EXISTS (SELECT FROM assets AS a WHERE a.object_key = f.object_key)
"""


async def list_queued_files(conn: Connection, *, limit: int) -> list[str]:
    """List up to `limit` object keys, the oldest request first."""
    return [row["object_key"] for row in await conn.fetch(LIST_FILES, limit)]


async def take_queued_file(conn: Connection, object_key: str) -> bool | None:
    """Remove a file from the queue; return whether a file of an asset has the key again.

    The caller deletes the file before COMMIT: until then no run can take the place to store the
    file again. None: there is nothing to delete now.
    """
    return await conn.fetchval(TAKE_FILE, object_key)
