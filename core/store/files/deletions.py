"""Files that are to be deleted from object storage: queued in a transaction, then deleted."""

from core.store.database import Connection

# A file that was stored again under the same key since is kept.
LIST_FILES = """
SELECT f.object_key, EXISTS (SELECT FROM assets AS a WHERE a.object_key = f.object_key) AS in_use
FROM file_deletions AS f ORDER BY f.requested_at LIMIT $1
"""
DELETE_REQUEST = "DELETE FROM file_deletions WHERE object_key = ANY($1::text[])"


async def list_queued_files(conn: Connection, *, limit: int) -> dict[str, bool]:
    """Return up to `limit` object keys, and whether a file of an asset has the key again."""
    return {row["object_key"]: row["in_use"] for row in await conn.fetch(LIST_FILES, limit)}


async def remove_from_queue(conn: Connection, object_keys: list[str]) -> None:
    """Remove files that are gone from the queue. Repeating is safe."""
    await conn.execute(DELETE_REQUEST, object_keys)
