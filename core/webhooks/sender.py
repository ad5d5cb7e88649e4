"""One attempt to deliver a webhook: one POST. Exception texts never leave this module."""

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import httpx

from core.platform.egress.client import AddressRefusedError, NameNotResolvedError, Outbound
from core.platform.observability import tracing
from core.platform.observability.tracing import Kind
from core.version import VERSION

EXCERPT_BYTES: Final = 1024


class AttemptError(StrEnum):
    """Why an attempt was not delivered: the closed list that users see with an attempt."""

    TIMED_OUT = "timed_out"
    CONNECT_TIMED_OUT = "connect_timed_out"
    NAME_NOT_RESOLVED = "name_not_resolved"
    ADDRESS_REFUSED = "address_refused"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_FAILED = "connection_failed"
    TLS_FAILED = "tls_failed"
    NO_VALID_ANSWER = "no_valid_answer"
    REDIRECT_NOT_FOLLOWED = "redirect_not_followed"
    GONE = "gone"
    HTTP_ERROR = "http_error"
    INVALID_URL = "invalid_url"
    NO_LISTENER = "no_listener"
    SECRET_UNUSABLE = "secret_unusable"  # noqa: S105 - a category


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookHttpSettings:
    """Limits of one attempt.

    total_seconds: from the name look-up to the last byte read, so that a slow receiver occupies a
    slot no longer. max_answer_bytes: how much of a response is read; its beginning is kept for the
    user. outbound: the egress rules; by default private addresses are refused.
    """

    user_agent: str = f"Takeone-Webhooks/{VERSION}"
    total_seconds: float = 15.0
    connect_seconds: float = 5.0
    max_answer_bytes: int = 64 * 1024
    tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context, repr=False)
    outbound: Outbound = field(default_factory=Outbound, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of one POST. error None: delivered. status_code None: no HTTP response."""

    duration_ms: int
    status_code: int | None = None
    error: AttemptError | None = None
    retry_after_seconds: float | None = None
    excerpt: str | None = None


async def post_webhook(
    url: str, headers: Mapping[str, str], body: bytes, limits: WebhookHttpSettings
) -> Answer:
    """POST once on a new connection, without redirects. Network and receiver errors do not raise.

    The status line decides: after 2xx the webhook is delivered, even if the response is cut off.
    With traces, the request has the header traceparent.
    """
    with tracing.span("webhook post", Kind.CLIENT, event_id=headers.get("webhook-id", "")):
        answer = await _post(url, headers, body, limits)
        tracing.note(outcome=answer.error or "delivered")
        if answer.status_code is not None:
            tracing.note(status=answer.status_code)
    return answer


async def _post(
    url: str, headers: Mapping[str, str], body: bytes, limits: WebhookHttpSettings
) -> Answer:
    began = time.monotonic()
    status: int | None = None
    retry_after: float | None = None
    error: AttemptError | None = None
    received = bytearray()
    try:
        async with (
            asyncio.timeout(limits.total_seconds),
            limits.outbound.client(
                tls=limits.tls,
                timeout=httpx.Timeout(limits.total_seconds, connect=limits.connect_seconds),
            ) as client,
            client.stream(
                "POST", _target(url), content=body, headers=_request_headers(headers, limits)
            ) as response,
        ):
            status = response.status_code
            retry_after = _retry_after_seconds(response, datetime.now(UTC))
            # Raw bytes, so that a compressed response cannot expand.
            async for chunk in response.aiter_raw():
                received += chunk[: limits.max_answer_bytes - len(received)]
                if len(received) >= limits.max_answer_bytes:
                    break
    except TimeoutError:
        error = AttemptError.TIMED_OUT
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as problem:
        error = _category(problem)
    return Answer(
        duration_ms=round((time.monotonic() - began) * 1000),
        status_code=status,
        error=error if status is None else status_error(status),
        retry_after_seconds=retry_after,
        excerpt=excerpt_of(bytes(received)) if status is not None else None,
    )


def _target(url: str) -> httpx.URL:
    target = httpx.URL(url)
    if target.port is not None and not 0 < target.port < 65536:
        raise httpx.InvalidURL("port out of range")
    return target


def _request_headers(headers: Mapping[str, str], limits: WebhookHttpSettings) -> dict[str, str]:
    traceparent = tracing.traceparent()
    return {
        **({} if traceparent is None else {"traceparent": traceparent}),
        "content-type": "application/json",
        "user-agent": limits.user_agent,
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        **headers,
    }


def status_error(status: int) -> AttemptError | None:
    """Return why a status is no delivery; None for 2xx."""
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return AttemptError.REDIRECT_NOT_FOLLOWED
    return AttemptError.GONE if status == HTTPStatus.GONE else AttemptError.HTTP_ERROR


def _category(problem: BaseException) -> AttemptError:
    causes = list(_causes(problem))
    for kind, category in _CAUSES:
        if any(isinstance(cause, kind) for cause in causes):
            return category
    return AttemptError.NO_VALID_ANSWER


# The first match applies, from the most specific to the most general.
_CAUSES: Final[tuple[tuple[type[BaseException], AttemptError], ...]] = (
    (httpx.InvalidURL, AttemptError.INVALID_URL),
    (httpx.UnsupportedProtocol, AttemptError.INVALID_URL),
    (UnicodeError, AttemptError.INVALID_URL),  # a host name that cannot be encoded
    (AddressRefusedError, AttemptError.ADDRESS_REFUSED),
    (NameNotResolvedError, AttemptError.NAME_NOT_RESOLVED),
    (ssl.SSLError, AttemptError.TLS_FAILED),
    (ConnectionRefusedError, AttemptError.CONNECTION_REFUSED),
    (httpx.ConnectTimeout, AttemptError.CONNECT_TIMED_OUT),
    (httpx.TimeoutException, AttemptError.TIMED_OUT),
    (httpx.ConnectError, AttemptError.CONNECTION_FAILED),
    (httpx.ProxyError, AttemptError.CONNECTION_FAILED),
)


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__


def _retry_after_seconds(response: httpx.Response, now: datetime) -> float | None:
    """Return the response's Retry-After in seconds (RFC 9110 10.2.3); None if absent or invalid."""
    if response.status_code not in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        return None
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - now).total_seconds())


def excerpt_of(received: bytes) -> str:
    """Return the beginning of a response as printable text, without control characters."""
    text = received[:EXCERPT_BYTES].decode(errors="replace")
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode()[:EXCERPT_BYTES].decode(errors="ignore")
