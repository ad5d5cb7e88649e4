"""Idempotency keys in rows: the answer of a request is kept under its key, in the transaction of
what it did.

A key lives for 30 days. After that it is as if it had never been used, whether or not its row is
swept away yet.
"""

import hashlib
from dataclasses import dataclass

from core.domain.ids import UserId
from core.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """request_sha256: of the request that was answered so."""

    request_sha256: bytes
    answer: bytes


FIND_ANSWER = """
SELECT request_sha256, response AS answer FROM idempotency_keys
WHERE user_id = $1 AND key = $2 AND created_at > now() - interval '30 days'
"""


async def find_answer(conn: Connection, user_id: UserId, key: str) -> KeptAnswer | None:
    row = await conn.fetchrow(FIND_ANSWER, user_id, key)
    return KeptAnswer(**dict(row)) if row is not None else None


TRY_LOCK_KEY = "SELECT pg_try_advisory_xact_lock($1)"


async def try_lock_key(conn: Connection, user_id: UserId, key: str) -> bool:
    """Take a key until the end of the transaction, without waiting. False: another transaction has
    it now.

    What the other one kept, `find_answer` sees in a statement after this one: a lock is let go
    after its COMMIT.
    """
    # Two keys that share a lock would only wait for each other; nobody can choose a key that shares
    # another's.
    digest = hashlib.sha256(f"{user_id} {key}".encode()).digest()
    return bool(await conn.fetchval(TRY_LOCK_KEY, int.from_bytes(digest[:8], signed=True)))


INSERT_ANSWER = """
INSERT INTO idempotency_keys AS k (user_id, key, request_sha256, response) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, key) DO UPDATE
SET request_sha256 = excluded.request_sha256, response = excluded.response, created_at = excluded.created_at
WHERE k.created_at <= now() - interval '30 days'
RETURNING k.key
"""


async def insert_answer(conn: Connection, user_id: UserId, key: str, kept: KeptAnswer) -> bool:
    """Keep an answer, in the transaction that does the work and has locked its key. False: one is
    kept already.
    """
    return (
        await conn.fetchval(INSERT_ANSWER, user_id, key, kept.request_sha256, kept.answer)
        is not None
    )


# In pages, so that a day's keys are not one long transaction.
DELETE_EXPIRED = """
DELETE FROM idempotency_keys
WHERE created_at <= now() - interval '30 days' AND (user_id, key) IN (
    SELECT user_id, key FROM idempotency_keys
    WHERE created_at <= now() - interval '30 days' ORDER BY created_at LIMIT $1
)
"""


async def delete_expired(conn: Connection, *, limit: int) -> int:
    """Up to `limit` keys whose life is over. How many it were."""
    status = await conn.execute(DELETE_EXPIRED, limit)
    return int(status.rpartition(" ")[2])
