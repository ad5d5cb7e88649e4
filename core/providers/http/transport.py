"""HTTP transport to the providers: the one paid POST, and the reads around it.

The POST is sent once, on a fresh connection, and no layer below retries it. This module reports
what happened on the wire; `create_outcome` decides what it means.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import httpx

from core.platform.clock import boot_seconds
from core.providers.http.handles import same_origin
from core.providers.http.responses import Response, shown_clock
from core.providers.port import CreateRequest, ProviderUnavailableError

BODY_MAX_BYTES = 1024 * 1024
"""The body of a create call's answer."""
READ_MAX_BYTES = 8 * 1024 * 1024
"""The body of a status or a result: as large as a provider's callback may be."""
LIST_PAGE_SECONDS = 30.0
"""One page of a list, from connecting to the last byte."""
CONNECT_SECONDS = 4.0
"""Less than policies.SEND_WITHIN_SECONDS, so that a connection made in time can still send."""
UNDELIVERED_SECONDS = 15.0
"""How long the kernel retransmits written bytes, also after the socket is closed.

The kernel's default is minutes: a request could arrive after its absence was taken as proven.
Must be less than every provider's horizon.
"""
DELIVERY_SECONDS = 20
"""After an intent's commit, bytes of its request arrive within the limit of a send (5 s) and the
kernel's retransmission.
"""
READ_SECONDS = 10.0
"""One read (status, list, cancel, keys), from connecting to the last byte."""
SHORTEST_SECRET = 16
"""Keys shorter than this are not removed from successful bodies.

Real keys have forty characters or more. A short sandbox key may be a word of the body or of a URL
in it, and removing it would damage a paid result. Refusals are only shown to people.
"""

# httpcore's trace events before it writes the request's head and its body. Connecting and TLS come
# earlier, so bytes of the request may have left from the first of these events on.
_SENDING = "send_request_headers.started"
_SENDING_BODY = "send_request_body.started"

# Only Linux has this option; elsewhere the kernel's default applies.
_SOCKET_OPTIONS: Final = (
    [(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNDELIVERED_SECONDS * 1000))]
    if hasattr(socket, "TCP_USER_TIMEOUT")
    else []
)


class SendDeadlineError(Exception):
    """The time window in which this request may be sent has passed."""


class ResponseTooLargeError(Exception):
    """The body exceeds its limit."""


class OpenBody:
    """The unread body of a response. Close or read it once."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def read(self, *, max_bytes: int) -> bytes:
        """Return the whole body. Raises ProviderUnavailableError if it is cut or too large."""
        body = bytearray()
        try:
            async for part in self._response.aiter_bytes():
                body += part
                if len(body) > max_bytes:
                    raise ProviderUnavailableError("the body of the response is too large")
        except (httpx.HTTPError, OSError) as error:
            raise ProviderUnavailableError(
                f"{type(error).__name__} after {len(body)} bytes of the response"
            ) from None
        finally:
            await self.close()
        return bytes(body)

    async def close(self) -> None:
        """Close the connection. Repeating is safe."""
        await self._response.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What happened to a POST on the wire.

    bytes_left: bytes of the request may have left this process.
    response: only if it arrived completely, or its head if the body is open.
    open_body: of a success, if `post_once` was asked to leave it open.
    internal_error: the request failed because of a defect in this service.
    """

    bytes_left: bool
    response: Response | None = None
    open_body: OpenBody | None = None
    note: str = ""
    internal_error: bool = False


class ProviderHttp:
    """The HTTP clients of all providers, an async context manager.

    Nothing connects before the first call.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        # Only settings decide where a request goes: no proxy and no .netrc from the environment.
        tls = tls or httpx.create_ssl_context(trust_env=False)
        # No connection is reused: one that died while idle could swallow a paid request.
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
        opens_body: bool = False,
    ) -> Sent:
        """Send the paid request once. Raises nothing but cancellation.

        auth: the headers with the key, sent to base_url's host only.
        not_after: the reading of boot_seconds after which nothing is sent.
        opens_body: return at the head of a success and leave its body unread. The limits of time
        are then those of the head and, for the body, of each read.
        """
        if not same_origin(request.url, base_url):
            return Sent(bytes_left=False, note="not the provider's address", internal_error=True)
        left = False

        async def trace(event: str, _info: Mapping[str, object]) -> None:
            # Raising here ends the request before the write that would have followed.
            nonlocal left
            if event.endswith((_SENDING, _SENDING_BODY)) and boot_seconds() > not_after:
                raise SendDeadlineError
            left = left or event.endswith(_SENDING)

        try:
            async with asyncio.timeout(timeout_seconds):
                content = json.dumps(request.body, ensure_ascii=False, allow_nan=False).encode()
                timeout = httpx.Timeout(timeout_seconds, connect=CONNECT_SECONDS)
                post = self._creates.build_request(
                    request.method,
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
                    extensions={"trace": trace, "timeout": timeout.as_dict()},
                )
                received = await self._creates.send(post, stream=True)
                if opens_body and received.is_success:
                    return _open(received)
                response = await _read_body(received, auth)
        except SendDeadlineError:
            return Sent(bytes_left=left, note="too late to send")
        except (httpx.HTTPError, OSError, TimeoutError, ResponseTooLargeError) as error:
            return Sent(bytes_left=left, note=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - the caller must learn if bytes may have left
            return Sent(bytes_left=left, note=type(error).__name__, internal_error=True)
        return Sent(bytes_left=True, response=response, note=response.note)

    async def read(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Response:
        """Make a call that is safe to repeat, on the pooled client, and return any response.

        Raises ProviderUnavailableError if no complete response arrived.
        """
        try:
            before = boot_seconds()
            async with asyncio.timeout(READ_SECONDS):
                request = self._reads.build_request(
                    method,
                    url,
                    json=body,
                    headers={
                        "accept": "application/json",
                        "accept-encoding": "identity",
                        **(headers or {}),
                    },
                )
                response = await _read_response(
                    self._reads, request, headers or {}, max_bytes=READ_MAX_BYTES
                )
                date = response.headers.get("date")
                clock = shown_clock(date, before=before, after=boot_seconds())
                return replace(response, clock=clock)
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            TimeoutError,
            ResponseTooLargeError,
        ) as error:
            # The error's text may contain addresses, so only its type is kept.
            raise ProviderUnavailableError(type(error).__name__) from None

    async def read_list(
        self,
        url: str,
        headers: Mapping[str, str],
        feed: Callable[[bytes], None],
        *,
        max_bytes: int,
    ) -> Response:
        """Read one page of a list; a successful body goes to `feed`, part by part.

        Raises ProviderUnavailableError, ResponseTooLargeError, and what `feed` raises.
        """
        accepted = {"accept": "application/json", "accept-encoding": "identity", **headers}
        try:
            async with asyncio.timeout(LIST_PAGE_SECONDS):
                request = self._reads.build_request("GET", url, headers=accepted)
                before = boot_seconds()
                response = await self._reads.send(request, stream=True)
                date = response.headers.get("date")
                clock = shown_clock(date, before=before, after=boot_seconds())
                try:
                    received = 0
                    async for part in response.aiter_bytes():
                        received += len(part)
                        if received > max_bytes:
                            raise ResponseTooLargeError
                        if response.status_code == HTTPStatus.OK:
                            feed(part)
                finally:
                    await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise ProviderUnavailableError(type(error).__name__) from None
        return Response(
            status_code=response.status_code, headers=_headers(response), body=b"", clock=clock
        )


class NoHttp(ProviderHttp):
    """The transport of adapters that only describe their models: it cannot send anything."""

    def __init__(self) -> None:  # creates no clients, so there is nothing to close
        pass


async def _read_response(
    client: httpx.AsyncClient,
    request: httpx.Request,
    auth: Mapping[str, str],
    *,
    max_bytes: int = BODY_MAX_BYTES,
) -> Response:
    """Send a request and return the complete response; see `_read_body`."""
    return await _read_body(await client.send(request, stream=True), auth, max_bytes=max_bytes)


def _open(response: httpx.Response) -> Sent:
    head = Response(status_code=response.status_code, headers=_headers(response), body=b"")
    return Sent(bytes_left=True, response=head, open_body=OpenBody(response), note=head.note)


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


async def _read_body(
    response: httpx.Response, auth: Mapping[str, str], *, max_bytes: int = BODY_MAX_BYTES
) -> Response:
    """Return the complete response, with our key removed if the body repeats it.

    Raises ResponseTooLargeError as soon as the body exceeds the limit.
    """
    try:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > max_bytes:
                raise ResponseTooLargeError
    finally:
        await response.aclose()
    for value in auth.values():
        key = value.rpartition(" ")[2].encode()
        if response.status_code >= HTTPStatus.BAD_REQUEST or len(key) >= SHORTEST_SECRET:
            body = body.replace(key, b"[key]")
    return Response(status_code=response.status_code, headers=_headers(response), body=bytes(body))


def checked_key(name: str, key: str) -> str:
    """Return a key that a header can carry. Raises ValueError without showing the key."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"the key of {name} is empty or has characters that a header cannot carry")
    return key
