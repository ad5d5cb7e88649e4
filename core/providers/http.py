"""HTTP to the providers: the one paid POST, and the reads around it.

The POST is sent once, on a fresh connection, and never retried by anything below us. What became of
it is said in three words (CreateOutcome): only a whole, definite answer or the certainty that no
byte left is anything but UNKNOWN.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import ProviderHandle
from core.platform.clock import boot_seconds
from core.providers.answers import Answer, retry_after_seconds
from core.providers.port import CreateAnswer, CreateOutcome, CreateRequest, ProviderUnavailableError

BODY_MAX_BYTES = 1024 * 1024
CONNECT_SECONDS = 4.0
"""Less than policies.SEND_WITHIN_SECONDS: what connects in time may still be sent."""
UNDELIVERED_SECONDS = 15.0
"""How long the kernel tries to deliver what we wrote, also after we gave up and closed. By itself
it would go on for minutes: the request could arrive when its absence was taken as proven. Less
than any horizon that fits a real provider.
"""
READ_SECONDS = 10.0
"""One read (status, list, cancel, keys), from connecting to the last byte."""

# httpcore's names for the moments before it writes: the head of the request, then its body.
# Connecting and TLS come before both, so from the first one on bytes of the request may leave.
_SENDING = "send_request_headers.started"
_SENDING_BODY = "send_request_body.started"

# Linux has the option; elsewhere the kernel's own patience counts.
_SOCKET_OPTIONS: Final = (
    [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNDELIVERED_SECONDS * 1000))]
    if hasattr(socket, "TCP_USER_TIMEOUT")
    else []
)

# The answers that are a refusal, if they come in the vendor's own form. Anything else may stand
# before a job that runs.
REFUSALS: Final[Mapping[int, FailureCode]] = {
    400: FailureCode.PROVIDER_REJECTED_INPUT,
    401: FailureCode.PROVIDER_AUTH_FAILED,
    402: FailureCode.PROVIDER_CREDIT_EXHAUSTED,
    403: FailureCode.PROVIDER_AUTH_FAILED,
    404: FailureCode.PROVIDER_MODEL_UNAVAILABLE,
    413: FailureCode.PROVIDER_REJECTED_INPUT,
    415: FailureCode.PROVIDER_REJECTED_INPUT,
    422: FailureCode.PROVIDER_REJECTED_INPUT,
    429: FailureCode.PROVIDER_RATE_LIMITED,
}


class TooLateError(Exception):
    """The time in which this request could be sent is over."""


class AnswerTooLargeError(Exception):
    """More than BODY_MAX_BYTES: not something an API says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What became of a POST. answer: only if it arrived whole. left: bytes of the request may have
    left us.
    """

    left: bool
    answer: Answer | None = None
    note: str = ""
    our_fault: bool = False


SHORTEST_SECRET = 16
"""Real keys are forty characters and more. A shorter one (made up for a sandbox) may be a word of
the answer, or of an address in it: taking it out of a success would break what was paid for.
Refusals are only read by people.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refusal in the vendor's own form. code: where it is more exact than the status. detail:
    already scrubbed.
    """

    code: FailureCode | None = None
    detail: str = ""
    retry_after_seconds: float = 0.0


class ProviderHttp:
    """The HTTP clients of all providers. An async context manager; nothing connects before the
    first call.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        # Where a request goes is the settings' word alone: no proxy and no .netrc from the
        # environment.
        tls = tls or httpx.create_ssl_context(trust_env=False)
        # No connection is kept, so none that died meanwhile can swallow a paid request.
        fresh = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        creates = httpx.AsyncHTTPTransport(
            verify=tls, trust_env=False, limits=fresh, socket_options=_SOCKET_OPTIONS
        )
        self._creates = httpx.AsyncClient(transport=creates, trust_env=False, timeout=None)  # noqa: S113 - per call
        pooled = httpx.Limits(max_connections=100, max_keepalive_connections=20)
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._reads = httpx.AsyncClient(verify=tls, trust_env=False, timeout=timeout, limits=pooled)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._creates.aclose()
        await self._reads.aclose()

    async def post_once(
        self,
        request: CreateRequest,
        auth: Mapping[str, str],
        base_url: str,
        *,
        timeout_seconds: float,
        not_after: float,
    ) -> Sent:
        """Send the paid POST, once. auth: the headers with the key, for base_url's host and no
        other.

        not_after: a reading of boot_seconds past which nothing is sent. Raises nothing but
        cancellation.
        """
        if not same_origin(request.url, base_url):
            return Sent(left=False, note="not the provider's address", our_fault=True)
        left = False

        async def trace(event: str, _info: Mapping[str, object]) -> None:
            # Raising here ends the request before the write that would have followed.
            nonlocal left
            if event.endswith((_SENDING, _SENDING_BODY)) and boot_seconds() > not_after:
                raise TooLateError
            left = left or event.endswith(_SENDING)

        try:
            async with asyncio.timeout(timeout_seconds):
                content = json.dumps(request.body, ensure_ascii=False, allow_nan=False).encode()
                post = self._creates.build_request(
                    "POST",
                    request.url,
                    content=content,
                    headers={
                        **request.headers,
                        **auth,
                        "content-type": "application/json",
                        "accept": "application/json",
                        "accept-encoding": "identity",
                        "connection": "close",
                    },
                    extensions={
                        "trace": trace,
                        "timeout": httpx.Timeout(
                            timeout_seconds, connect=CONNECT_SECONDS
                        ).as_dict(),
                    },
                )
                answer = await _whole(self._creates, post, auth)
        except TooLateError:
            return Sent(left=left, note="too late to send")
        except (httpx.HTTPError, OSError, TimeoutError, AnswerTooLargeError) as error:
            return Sent(left=left, note=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - recorded: whatever it was, the caller must hear if bytes may have left
            return Sent(left=left, note=type(error).__name__, our_fault=True)
        return Sent(left=True, answer=answer, note=answer.note)

    async def read(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A call that is safe to repeat, on the pooled client. Any status is an answer.

        Raises ProviderUnavailableError if there was none.
        """
        try:
            async with asyncio.timeout(READ_SECONDS):
                request = self._reads.build_request(
                    method,
                    url,
                    headers={
                        "accept": "application/json",
                        "accept-encoding": "identity",
                        **(headers or {}),
                    },
                )
                return await _whole(self._reads, request, headers or {})
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            TimeoutError,
            AnswerTooLargeError,
        ) as error:
            # The error's own text may name addresses: its type is enough.
            raise ProviderUnavailableError(type(error).__name__) from None


class NoHttp(ProviderHttp):
    """For adapters that are only asked what they offer: whatever they were told to send would end
    here.
    """

    def __init__(self) -> None:  # makes no clients, so there is nothing to send with, nor to close
        pass


async def _whole(
    client: httpx.AsyncClient, request: httpx.Request, auth: Mapping[str, str]
) -> Answer:
    """The answer with its body read to the end, and without our key, should it be repeated there.

    Raises AnswerTooLargeError as soon as the cap is passed.
    """
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > BODY_MAX_BYTES:
                raise AnswerTooLargeError
    finally:
        await response.aclose()
    headers = {name.lower(): value for name, value in response.headers.items()}
    for value in auth.values():
        key = value.rpartition(" ")[2].encode()
        if response.status_code >= HTTPStatus.BAD_REQUEST or len(key) >= SHORTEST_SECRET:
            body = body.replace(key, b"[key]")
    return Answer(status_code=response.status_code, headers=headers, body=bytes(body))


def create_answer(
    sent: Sent,
    accepted: Callable[[Answer], ProviderHandle | None],
    refused: Callable[[Answer], Refusal | None],
) -> CreateAnswer:
    """Say what became of a create call. Raises nothing.

    accepted: the handle in an answer, None without a usable id. refused: the refusal, None if not
    in the vendor's form.
    """
    answer = sent.answer
    if answer is None:
        if sent.left:
            return CreateAnswer(outcome=CreateOutcome.UNKNOWN, note=sent.note)
        code = FailureCode.INTERNAL_ERROR if sent.our_fault else FailureCode.PROVIDER_UNAVAILABLE
        return CreateAnswer(
            outcome=CreateOutcome.NOT_ACCEPTED, failure=Failure.of(code), note=sent.note
        )
    unknown = CreateAnswer(
        outcome=CreateOutcome.UNKNOWN, status_code=answer.status_code, note=sent.note
    )
    try:
        return _definite(answer, accepted(answer), refused) or unknown
    except Exception as error:  # noqa: BLE001 - recorded: an answer that breaks our reading of it is not a definite one
        return replace(unknown, note=f"{sent.note} {type(error).__name__}")


def _definite(
    answer: Answer, handle: ProviderHandle | None, refused: Callable[[Answer], Refusal | None]
) -> CreateAnswer | None:
    """A success that names its job, or a refusal that names none."""
    if answer.contradicts_itself:
        return None
    status = answer.status_code
    if answer.ok and handle is not None:
        return CreateAnswer(
            outcome=CreateOutcome.ACCEPTED, handle=handle, status_code=status, note=answer.note
        )
    if status not in REFUSALS or handle is not None or not answer.called_json:
        return None
    if (refusal := refused(answer)) is None:
        return None
    return CreateAnswer(
        outcome=CreateOutcome.NOT_ACCEPTED,
        failure=Failure.of(refusal.code or REFUSALS[status], refusal.detail),
        retry_after_seconds=asked_delay(answer) or refusal.retry_after_seconds,
        status_code=status,
        note=answer.note,
    )


def asked_delay(answer: Answer) -> float:
    """What the answer's Retry-After asks for, in seconds; 0 if nothing."""
    return retry_after_seconds(answer.headers.get("retry-after"), datetime.now(UTC))


def unavailable(answer: Answer) -> ProviderUnavailableError:
    """A read whose answer says nothing about the job."""
    return ProviderUnavailableError(
        answer.note,
        retry_after_seconds=asked_delay(answer),
        not_found=answer.status_code in (404, 410),
    )


def key_taken(answer: Answer, member: str) -> bool:
    """What an authenticated read says of its key. member: what its success has, and no page of
    somebody else's.

    False: the provider refuses it. Raises ProviderUnavailableError for anything else.
    """
    body = answer.object()
    if answer.status_code == HTTPStatus.OK and member in body:
        return True
    if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN) and body:
        return False
    raise unavailable(answer)


def same_origin(url: str, base_url: str) -> bool:
    """Is an address that a provider gave on the provider's own host? Keys go nowhere else."""
    try:
        return _origin(url) == _origin(base_url)
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str | None, int | None, bool]:
    """Raises ValueError for an address that is none."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.username is not None


def checked_key(name: str, key: str) -> str:
    """A key that can stand in a header. Raises ValueError at the start, without showing it."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"the key of {name} is empty or has characters that a header cannot carry")
    return key
