"""The rate of reads with one provider key, shared by all processes and all kinds of reads."""

from core.store.database import Connection

TAKE_URGENT_READ = "SELECT granted, next_seconds FROM take_urgent_read($1, $2)"


async def take_urgent_read(conn: Connection, scope: str, per_minute: int) -> float:
    """Take one read from a key's rate, with priority over status reads. Call it as system.

    Return 0 if it was granted, else the time after which the next one is.
    """
    row = await conn.fetchrow(TAKE_URGENT_READ, scope, per_minute)
    if row is None or row["granted"]:
        return 0.0
    return max(float(row["next_seconds"]), 0.001)
