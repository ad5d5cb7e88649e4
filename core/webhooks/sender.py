"""One try to hand a webhook over: one POST, whatever the receiver does. No text of an exception
leaves this file.
"""

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
from core.version import VERSION

EXCERPT_BYTES: Final = 1024


class AttemptError(StrEnum):
    """Why a try did not deliver; the closed list that a user reads beside the attempt."""

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
    SECRET_UNUSABLE = "secret_unusable"  # noqa: S105 - a category


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookHttpSettings:
    """Limits of one try.

    total_seconds: for everything, from the name look-up to the last byte read; a slow receiver
    holds a slot no longer. max_answer_bytes: what is read of an answer; nothing in it matters but
    its first lines, kept for the user to see. outbound: where webhooks may go; by default nowhere
    private.
    """

    user_agent: str = f"Takeone-Webhooks/{VERSION}"
    total_seconds: float = 15.0
    connect_seconds: float = 5.0
    max_answer_bytes: int = 64 * 1024
    tls: ssl.SSLContext = field(default_factory=httpx.create_ssl_context, repr=False)
    outbound: Outbound = field(default_factory=Outbound, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one POST. error None: delivered. status_code None: nothing that is HTTP came
    back.
    """

    duration_ms: int
    status_code: int | None = None
    error: AttemptError | None = None
    retry_after_seconds: float | None = None
    excerpt: str | None = None


async def post_webhook(
    url: str, headers: Mapping[str, str], body: bytes, limits: WebhookHttpSettings
) -> Answer:
    """POST once, on a fresh connection, without redirects. Never raises for what the network or the
    receiver does.

    The status line decides: a receiver that said 2xx has the webhook, however its answer goes on.
    """
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
            # Raw: a compressed bomb stays as small as it is.
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
        error=error if status is None else _status_error(status),
        retry_after_seconds=retry_after,
        excerpt=_excerpt(bytes(received)) if status is not None else None,
    )


def _target(url: str) -> httpx.URL:
    target = httpx.URL(url)
    if target.port is not None and not 0 < target.port < 65536:
        raise httpx.InvalidURL("port out of range")
    return target


def _request_headers(headers: Mapping[str, str], limits: WebhookHttpSettings) -> dict[str, str]:
    return {
        "content-type": "application/json",
        "user-agent": limits.user_agent,
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "close",
        **headers,
    }


def _status_error(status: int) -> AttemptError | None:
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


# The first that fits, from the most exact to the widest.
_CAUSES: Final[tuple[tuple[type[BaseException], AttemptError], ...]] = (
    (httpx.InvalidURL, AttemptError.INVALID_URL),
    (httpx.UnsupportedProtocol, AttemptError.INVALID_URL),
    (UnicodeError, AttemptError.INVALID_URL),  # a name that no resolver can be asked for
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
    """How long the receiver asks us to wait (RFC 9110 10.2.3: seconds, or a date). None: it
    doesn't, or unreadably.
    """
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


def _excerpt(received: bytes) -> str:
    """The beginning of an answer as text for a person: nothing that steers a terminal or turns text
    around.
    """
    text = received[:EXCERPT_BYTES].decode(errors="replace")
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable.encode()[:EXCERPT_BYTES].decode(errors="ignore")
