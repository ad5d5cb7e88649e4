"""Idempotent orders: an order with a key that was used before is answered with the stored answer.

The answer is stored in the transaction that does the work, so both exist or neither does.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.ids import ExecutionId, UserId
from core.ordering.errors import IdempotencyConflictError, IdempotencyInProgressError
from core.store.database import Connection
from core.store.executions.idempotency import StoredAnswer, find_answer, insert_answer, try_lock_key
from core.store.executions.unkeyed_orders import (
    UnkeyedOrder,
    adopt_order,
    insert_order,
    try_lock_fingerprint,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """The caller's key. request_sha256: of the request that it was sent with."""

    key: str
    request_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The body that the surface sends. replayed: it was stored by an earlier request."""

    body: bytes
    replayed: bool = False


def request_sha256(*operation: str, body: Mapping[str, object]) -> bytes:
    """Return a digest of the request that does not depend on spelling or field order.

    operation: the name of the operation and the ids that it applies to.
    """
    canonical = json.dumps([*operation, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


async def find_replay(
    conn: Connection, user_id: UserId, key: IdempotencyKey | None
) -> Answer | None:
    """Return the answer stored under the key; otherwise lock the key for this transaction.

    Raises IdempotencyConflictError if the answer belongs to a different request, and
    IdempotencyInProgressError if another transaction holds the lock. Equal requests never wait for
    each other, so a crowd of them blocks no connections.
    """
    if key is None:
        return None
    stored = await find_answer(conn, user_id, key.key)
    if stored is None:
        if not await try_lock_key(conn, user_id, key.key):
            raise IdempotencyInProgressError
        # The transaction that held the lock until now may have stored its answer.
        stored = await find_answer(conn, user_id, key.key)
    if stored is None:
        return None
    if stored.request_sha256 != key.request_sha256:
        raise IdempotencyConflictError
    return Answer(body=stored.answer, replayed=True)


async def store_answer(
    conn: Connection, user_id: UserId, key: IdempotencyKey | None, body: bytes
) -> None:
    """Store an answer in the transaction that has locked the key and does the work."""
    if key is None:
        return
    answer = StoredAnswer(request_sha256=key.request_sha256, answer=body)
    if not await insert_answer(conn, user_id, key.key, answer):
        # A recovery, which takes no lock, has just rebuilt the answer.
        raise IdempotencyInProgressError


async def find_adopted(
    conn: Connection, user_id: UserId, order: UnkeyedOrder | None
) -> Answer | None:
    """Return the answer to an earlier attempt of the same call; otherwise lock the fingerprint.

    Raises IdempotencyInProgressError if an equal order is just being accepted.
    """
    if order is None:
        return None
    if not await try_lock_fingerprint(conn, user_id, order.fingerprint):
        raise IdempotencyInProgressError
    body = await adopt_order(conn, user_id, order)
    return None if body is None else Answer(body=body, replayed=True)


async def store_unkeyed(
    conn: Connection,
    user_id: UserId,
    execution_id: ExecutionId,
    order: UnkeyedOrder | None,
    body: bytes,
) -> None:
    """Store an answer that later attempts get, in the transaction that accepts the order."""
    if order is not None:
        await insert_order(conn, user_id, execution_id, order, body)
