"""Idempotency keys in rows: the answer of a request is kept under its key, in the transaction of what it did."""

from dataclasses import dataclass

from contracts.ids import UserId
from store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """request_sha256: of the request that was answered so."""

    request_sha256: bytes
    answer: bytes


FIND_ANSWER = "SELECT request_sha256, answer FROM idempotency_keys WHERE user_id = $1 AND key = $2"


async def find_answer(conn: Connection, user_id: UserId, key: str) -> KeptAnswer | None:
    row = await conn.fetchrow(FIND_ANSWER, user_id, key)
    return KeptAnswer(**dict(row)) if row is not None else None


async def get_answer(conn: Connection, user_id: UserId, key: str) -> KeptAnswer:
    """Raises LookupError."""
    kept = await find_answer(conn, user_id, key)
    if kept is None:
        raise LookupError("nothing is kept under this key")
    return kept


INSERT_ANSWER = """
INSERT INTO idempotency_keys (user_id, key, request_sha256, answer) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING
RETURNING key
"""


async def insert_answer(conn: Connection, user_id: UserId, key: str, kept: KeptAnswer) -> bool:
    """Take a key, first thing in the transaction that does the work. False: it is taken, look at `find_answer`.

    Waits for another transaction that has just taken it; if that one is rolled back, the key is ours.
    """
    return await conn.fetchval(INSERT_ANSWER, user_id, key, kept.request_sha256, kept.answer) is not None
