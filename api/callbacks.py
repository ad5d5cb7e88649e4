"""Route of provider callbacks: verify the callback, store it, and wake the poller."""

from typing import Any, Final

from fastapi import APIRouter, Request

from api.http.openapi import problems
from api.http.problems.documents import CALLBACKS_PATH, ProblemError, not_found, unavailable
from api.http.problems.texts import CALLBACK_SIGNATURE_INVALID, CALLBACK_UNVERIFIABLE
from api.http.strict_json import check_encoding
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.platform.crypto.callback_tokens import SignedSend
from core.platform.observability import tracing
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import CALLBACKS
from core.providers.port import CallbackRefusedError, CallbackUnverifiableError, Provider
from core.store.jobs.callbacks import (
    CallbackOutcome,
    NewCallback,
    find_send_key,
    find_traceparent,
    record_callback,
)

OTHER_PROVIDER: Final = "other"

log = get_logger(__name__)
router = APIRouter(tags=["callbacks"])


@router.post(
    "/callbacks/{provider}/{token}",
    summary="Receive a provider callback",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
    ),
)
async def receive_callback(request: Request, provider: str, token: str) -> dict[str, Any]:
    """Receive a callback; only providers call this address.

    The path contains a token of this service, and the body is signed by the provider. Both are
    verified. Repeating is safe.
    """
    services = services_of(request)
    send = _verify_token(services, provider, token)
    check_encoding(request)
    body = await _read_body(request, provider, send)
    adapter = await _provider_of_send(services, provider, send)
    callback = await _verify(request, adapter, send, body)
    async with services.database.as_system() as conn:
        outcome = await record_callback(conn, callback)
        if tracing.is_on():
            tracing.note(job_id=send.job_id, outcome=outcome.value)
            tracing.link(await find_traceparent(conn, send.job_id))
    CALLBACKS.labels(adapter.name, outcome.value).inc()
    log.info("callback.received", job_id=send.job_id, provider=adapter.name, outcome=outcome.value)
    if outcome is CallbackOutcome.UNKNOWN_JOB:
        raise not_found(CALLBACKS_PATH)
    return {}


def _verify_token(services: Services, provider: str, token: str) -> SignedSend:
    """Return the send of the token. Runs before the body is read, without a query."""
    if provider not in services.providers.known_names:
        CALLBACKS.labels(OTHER_PROVIDER, "unknown_provider").inc()
        raise not_found(CALLBACKS_PATH)
    send = services.tokens.verify(provider, token)
    if send is None:
        CALLBACKS.labels(provider, "bad_token").inc()
        raise not_found(CALLBACKS_PATH)
    return send


async def _read_body(request: Request, provider: str, send: SignedSend) -> bytes:
    try:
        return await request.body()
    except ProblemError as problem:
        if problem.code is FailureCode.PAYLOAD_TOO_LARGE:
            CALLBACKS.labels(provider, "too_large").inc()
            log.warning("callback.too_large", job_id=send.job_id, provider=provider)
        raise


async def _provider_of_send(services: Services, provider: str, send: SignedSend) -> Provider:
    """Return the adapter with the key of the send: each provider account has its own secret.

    Queries only for a user's key that is not in memory and for a token of an earlier version.
    """
    adapter = None
    if send.names_key:
        adapter = services.keys.in_memory(services.providers, provider, send.provider_key_id)
    if adapter is None:
        async with services.database.as_system() as conn:
            key = send.provider_key_id
            if not send.names_key:
                key = await find_send_key(conn, send.job_id, send.send_number, provider)
            adapter = await services.keys.open(conn, services.providers, provider, key)
    if adapter is None:  # the key was erased, so no open job was bought with it
        CALLBACKS.labels(provider, "no_key").inc()
        raise not_found(CALLBACKS_PATH)
    return adapter


async def _verify(
    request: Request, adapter: Provider, send: SignedSend, body: bytes
) -> NewCallback:
    """Return the callback. Raise ProblemError if its signature is invalid or cannot be verified."""
    try:
        callback = await adapter.verify_callback(dict(request.headers), body)
    except CallbackRefusedError:
        CALLBACKS.labels(adapter.name, "refused").inc()
        log.warning("callback.refused", job_id=send.job_id, provider=adapter.name)
        raise ProblemError(
            FailureCode.UNAUTHENTICATED,
            CALLBACK_SIGNATURE_INVALID,
            headers={"WWW-Authenticate": "Signature"},
        ) from None
    except CallbackUnverifiableError:
        CALLBACKS.labels(adapter.name, "unverifiable").inc()
        log.warning("callback.unverifiable", job_id=send.job_id, provider=adapter.name)
        raise unavailable(CALLBACK_UNVERIFIABLE) from None
    return NewCallback(
        provider=adapter.name,
        delivery_id=callback.delivery_id,
        job_id=send.job_id,
        send_number=send.send_number,
        provider_job_id=callback.provider_job_id,
        report=callback.report,
    )
