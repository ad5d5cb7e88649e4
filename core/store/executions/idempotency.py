"""Idempotency keys: the response to a request, stored in the transaction that handles the request.

A key expires after 30 days, whether or not its row is deleted yet.
"""

import hashlib
from dataclasses import dataclass

from core.domain.ids import UserId
from core.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """The response to a request. request_sha256: the hash of the request."""

    request_sha256: bytes
    answer: bytes


FIND_ANSWER = """
SELECT request_sha256, response AS answer FROM idempotency_keys
WHERE user_id = $1 AND key = $2 AND created_at > now() - interval '30 days'
"""


async def find_answer(conn: Connection, user_id: UserId, key: str) -> StoredAnswer | None:
    """Return the stored response of a key that has not expired."""
    row = await conn.fetchrow(FIND_ANSWER, user_id, key)
    return StoredAnswer(**dict(row)) if row is not None else None


TRY_LOCK_KEY = "SELECT pg_try_advisory_xact_lock($1)"


async def try_lock_key(conn: Connection, user_id: UserId, key: str) -> bool:
    """Lock a key until the end of the transaction, without waiting.

    Return False if another transaction holds it. A later `find_answer` sees the response of that
    transaction, which releases the lock after its COMMIT.
    """
    # Two keys with the same lock only wait for each other.
    digest = hashlib.sha256(f"{user_id} {key}".encode()).digest()
    return bool(await conn.fetchval(TRY_LOCK_KEY, int.from_bytes(digest[:8], signed=True)))


INSERT_ANSWER = """
INSERT INTO idempotency_keys AS k (user_id, key, request_sha256, response) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, key) DO UPDATE
SET request_sha256 = excluded.request_sha256, response = excluded.response, created_at = excluded.created_at
WHERE k.created_at <= now() - interval '30 days'
RETURNING k.key
"""


async def insert_answer(conn: Connection, user_id: UserId, key: str, answer: StoredAnswer) -> bool:
    """Store a response in the transaction that handled the request and locked the key.

    Return False if a response is stored already.
    """
    return (
        await conn.fetchval(INSERT_ANSWER, user_id, key, answer.request_sha256, answer.answer)
        is not None
    )


# In pages, to keep transactions short.
DELETE_EXPIRED = """
DELETE FROM idempotency_keys
WHERE created_at <= now() - interval '30 days' AND (user_id, key) IN (
    SELECT user_id, key FROM idempotency_keys
    WHERE created_at <= now() - interval '30 days' ORDER BY created_at LIMIT $1
)
"""


async def delete_expired(conn: Connection, *, limit: int) -> int:
    """Delete up to `limit` expired keys and return their number."""
    status = await conn.execute(DELETE_EXPIRED, limit)
    return int(status.rpartition(" ")[2])
