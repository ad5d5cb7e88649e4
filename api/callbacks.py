"""Callbacks over HTTP: a provider calls us. Verified, written down, the waiter woken;
nothing more.
"""

from typing import Any

from fastapi import APIRouter, Request

from api.http.openapi import problems
from api.http.problems import CALLBACKS_PATH, ProblemError, not_found, unavailable
from api.http.strict_json import check_encoding
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import JobId
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import CALLBACKS
from core.providers.port import CallbackRefusedError, CallbackUnverifiableError, Provider
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, find_send_key, record_callback

_OTHER = "other"

log = get_logger(__name__)
router = APIRouter(tags=["callbacks"])


@router.post(
    "/callbacks/{provider}/{token}",
    summary="For providers only",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
    ),
)
async def receive_callback(request: Request, provider: str, token: str) -> dict[str, Any]:
    """A job has news. We signed the address, the provider the body; both are checked. Repeats
    change nothing.
    """
    services = services_of(request)
    job_id, send_number = _whose(services, provider, token)
    check_encoding(request)
    body = await request.body()
    sender = await _sender(services, provider, job_id, send_number)
    new = await _verified(request, sender, job_id, send_number, body)
    async with services.database.as_system() as conn:
        outcome = await record_callback(conn, new)
    CALLBACKS.labels(sender.name, outcome.value).inc()
    log.info("callback received", job_id=job_id, provider=sender.name, outcome=outcome.value)
    if outcome is CallbackOutcome.UNKNOWN_JOB:
        raise not_found(CALLBACKS_PATH)
    return {}


def _whose(services: Services, provider: str, token: str) -> tuple[JobId, int]:
    """Before a byte of the body is read, and without a query."""
    if provider not in services.providers.known_names:
        CALLBACKS.labels(_OTHER, "unknown_provider").inc()
        raise not_found(CALLBACKS_PATH)
    subject = services.tokens.verify(token)
    if subject is None:
        CALLBACKS.labels(provider, "bad_token").inc()
        raise not_found(CALLBACKS_PATH)
    return subject


async def _sender(services: Services, provider: str, job_id: JobId, send_number: int) -> Provider:
    """Who verifies it: each account may sign in its own way, so the one that the send was made
    with.
    """
    async with services.database.as_system() as conn:
        provider_key_id = await find_send_key(conn, job_id, send_number, provider)
        sender = await services.keys.open(conn, services.providers, provider, provider_key_id)
    if sender is None:  # nothing is open that was bought with a key that is gone
        CALLBACKS.labels(provider, "no_key").inc()
        raise not_found(CALLBACKS_PATH)
    return sender


async def _verified(
    request: Request, sender: Provider, job_id: JobId, send_number: int, body: bytes
) -> NewCallback:
    try:
        callback = await sender.verify_callback(dict(request.headers), body)
    except CallbackRefusedError:
        CALLBACKS.labels(sender.name, "refused").inc()
        log.warning("callback refused", job_id=job_id, provider=sender.name)
        raise ProblemError(
            FailureCode.UNAUTHENTICATED,
            "The signature is missing, wrong or too old.",
            headers={"WWW-Authenticate": "Signature"},
        ) from None
    except CallbackUnverifiableError:
        CALLBACKS.labels(sender.name, "unverifiable").inc()
        log.warning("callback not verifiable now", job_id=job_id, provider=sender.name)
        raise unavailable("The signature cannot be checked right now; send it again.") from None
    return NewCallback(
        provider=sender.name,
        delivery_id=callback.delivery_id,
        job_id=job_id,
        send_number=send_number,
        provider_job_id=callback.provider_job_id,
    )
