"""Leases: one process leads a kind of background work until its lease expires.

The database's clock decides, so a stopped or unreachable process loses its lease without any help
of its connection. As system.
"""

from core.store.database import Connection

# The time is read after the row is locked, since this may have waited for another process.
TAKE_LEASE = """
INSERT INTO leases AS l (name, token, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE
SET token = excluded.token, expires_at = clock_timestamp() + make_interval(secs => $3)
WHERE l.token = excluded.token OR l.expires_at <= clock_timestamp()
RETURNING token
"""
RELEASE_LEASE = "DELETE FROM leases WHERE name = $1 AND token = $2"


async def take_lease(conn: Connection, name: str, token: str, *, seconds: float) -> bool:
    """Take or renew a lease. Return False while another token holds it. Repeating is safe.

    The holder must count the time from before this call, because its commit may take long.
    """
    return await conn.fetchval(TAKE_LEASE, name, token, seconds) is not None


async def release_lease(conn: Connection, name: str, token: str) -> None:
    """Release a lease if this token still holds it: another process can take it at once."""
    await conn.execute(RELEASE_LEASE, name, token)
