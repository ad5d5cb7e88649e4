"""Orders without an idempotency key, found again by their fingerprint when they are repeated.

A row is used for `ADOPTABLE`, whether or not it is deleted yet.
"""

import hashlib
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.domain.ids import ExecutionId, UserId
from core.store.database import Connection

ADOPTABLE: Final = timedelta(minutes=15)
"""The OpenAI clients wait 10 minutes for an answer, and some seconds between their attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnkeyedOrder:
    """A request that names no key.

    fingerprint: a hash of everything that it orders, and for whom. retry_count: how often the
    client has sent it before. arrived: when, by the monotonic clock of this process.
    """

    fingerprint: bytes
    retry_count: int
    arrived: float


TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"


async def try_lock_fingerprint(conn: Connection, user_id: UserId, fingerprint: bytes) -> bool:
    """Lock a fingerprint until the end of the transaction, without waiting.

    Return False if another transaction holds it.
    """
    digest = hashlib.sha256(b"unkeyed " + user_id.encode() + fingerprint).digest()
    return bool(await conn.fetchval(TRY_LOCK, int.from_bytes(digest[:8], signed=True)))


# An earlier attempt of the same call, which no attempt with this count has adopted. Or the answer
# to a later attempt that overtook this request: its client no longer waits for this one.
ADOPT = """
UPDATE unkeyed_orders SET adopted_by = adopted_by || $3::integer, adopted_at = now()
WHERE execution_id = (
    SELECT execution_id FROM unkeyed_orders
    WHERE user_id = $1 AND fingerprint = $2 AND created_at > now() - $5::interval
      AND (retry_count < $3 AND NOT $3 = ANY (adopted_by)
           OR retry_count > $3 AND created_at > clock_timestamp() - make_interval(secs => $4)
           OR $3 < ANY (adopted_by) AND adopted_at > clock_timestamp() - make_interval(secs => $4))
    ORDER BY created_at DESC LIMIT 1
)
RETURNING response
"""


async def adopt_order(conn: Connection, user_id: UserId, order: UnkeyedOrder) -> bytes | None:
    """Return the response to an earlier attempt of the same call, and mark it as repeated.

    The caller holds the lock of the fingerprint. None: there is no such attempt, so the order is a
    new one. Of two equal orders at once, of which one was lost, both may get the same execution.
    """
    age_seconds = time.monotonic() - order.arrived
    return await conn.fetchval(
        ADOPT, user_id, order.fingerprint, order.retry_count, age_seconds, ADOPTABLE
    )


INSERT_ORDER = """
INSERT INTO unkeyed_orders (execution_id, user_id, fingerprint, retry_count, response) VALUES ($1, $2, $3, $4, $5)
"""


async def insert_order(
    conn: Connection,
    user_id: UserId,
    execution_id: ExecutionId,
    order: UnkeyedOrder,
    response: bytes,
) -> None:
    """Store the response in the transaction that accepts the order and holds the lock."""
    await conn.execute(
        INSERT_ORDER, execution_id, user_id, order.fingerprint, order.retry_count, response
    )


# In pages, to keep transactions short.
DELETE_EXPIRED = """
DELETE FROM unkeyed_orders WHERE execution_id IN (
    SELECT execution_id FROM unkeyed_orders WHERE created_at <= now() - $2::interval ORDER BY created_at LIMIT $1
)
"""


async def delete_expired_orders(conn: Connection, *, limit: int) -> int:
    """Delete up to `limit` rows that are no longer used, and return their number."""
    status = await conn.execute(DELETE_EXPIRED, limit, ADOPTABLE)
    return int(status.rpartition(" ")[2])
