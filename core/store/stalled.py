"""Transactions of processes that stand still in the middle of a statement.

PostgreSQL's time-out for idle transactions does not apply between the messages of one statement,
and no other time-out of PostgreSQL 16 ends a session that waits for its client there. A stopped
process would keep its locks until it wakes.
"""

from core.store.database import IDLE_TRANSACTION_SECONDS, Connection

# The sessions of the login, which may end its own sessions; the roles above it may not.
AS_LOGIN = "SET LOCAL ROLE NONE"
END_STALLED = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = session_user AND pid <> pg_backend_pid()
  AND state = 'active' AND wait_event_type = 'Client' AND xact_start IS NOT NULL
  AND query_start < clock_timestamp() - make_interval(secs => $1)
"""


async def end_stalled_transactions(conn: Connection) -> int:
    """End the sessions whose client has owed them the rest of a statement for too long.

    Return their number. Their transactions are rolled back. Repeating is safe.
    """
    await conn.execute(AS_LOGIN)
    return await conn.fetchval(END_STALLED, float(IDLE_TRANSACTION_SECONDS))
