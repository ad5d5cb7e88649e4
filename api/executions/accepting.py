"""What the requests that begin work have in common: done once for an Idempotency-Key, answered with
202, started.
"""

import asyncio
import hashlib
import json
import re
from typing import Annotated, Any

from fastapi import Header, Response

from api.http.problems import ProblemError, invalid_field
from api.services import Services
from core.domain.failures import FailureCode
from core.domain.ids import UserId
from core.domain.messages.executions import ExecutionOrder
from core.ordering.workflow_starts import start_execution
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.database import DATABASE_DOWN, Connection
from core.store.executions.idempotency import KeptAnswer, find_answer, insert_answer, try_lock_key

_IDEMPOTENCY_KEY = re.compile(r"^[!-~](?:[ -~]{0,253}[!-~])?$", re.ASCII)
_IN_PROGRESS_SECONDS = 1
"""What a client is told to wait for the answer of its first request: far longer than its
transaction takes.
"""

log = get_logger(__name__)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Up to 255 printable characters: for 30 days the same request is done once.",
        json_schema_extra={"pattern": _IDEMPOTENCY_KEY.pattern, "maxLength": 255},
    ),
]


def check_idempotency_key(key: str | None) -> None:
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid_field("Idempotency-Key", "must be 1 to 255 printable ASCII characters")


def request_sha256(*what: str, body: dict[str, Any]) -> bytes:
    """Of what was asked, however it was spelled. what: the route and its ids."""
    canonical = json.dumps([*what, body], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).digest()


async def claim_key(conn: Connection, user_id: UserId, key: str) -> KeptAnswer | None:
    """Take a key for this transaction, first thing in it; or the answer that is kept under it.

    Raises ProblemError: another transaction has it. Nobody waits for it, so a crowd of equal
    requests holds nothing up.
    """
    if not await try_lock_key(conn, user_id, key):
        raise _in_progress()
    return await find_answer(conn, user_id, key)


async def keep_answer(conn: Connection, user_id: UserId, key: str, kept: KeptAnswer) -> None:
    """In the transaction that has claimed the key, and does what the answer says."""
    if not await insert_answer(conn, user_id, key, kept):
        raise _in_progress()  # a recovery has made it again just now; it takes no locks


def _in_progress() -> ProblemError:
    return ProblemError(
        FailureCode.IDEMPOTENCY_IN_PROGRESS, headers={"Retry-After": str(_IN_PROGRESS_SECONDS)}
    )


def accepted(body: bytes) -> Response:
    location: str = json.loads(body)["statusUrl"]
    return Response(
        content=body, status_code=202, media_type="application/json", headers={"Location": location}
    )


def replayed(kept: KeptAnswer, sha256: bytes) -> Response:
    """The answer once more. Raises ProblemError if it was the answer to another request."""
    if kept.request_sha256 != sha256:
        raise ProblemError(FailureCode.IDEMPOTENCY_CONFLICT)
    response = accepted(kept.answer)
    response.headers["Idempotent-Replayed"] = "true"
    return response


async def start(services: Services, order: ExecutionOrder, prompt: str) -> None:
    """Only the quick way to a start: what was accepted is started by the sweep otherwise."""
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            await start_execution(services.temporal, services.database, order, prompt=prompt)
    except (TimeoutError, *UNREACHABLE, *DATABASE_DOWN) as error:
        log.warning(
            "execution not started yet", execution_id=order.execution_id, reason=str(error)[:200]
        )
