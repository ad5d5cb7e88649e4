"""Downloads of provider files as streams with limits on size and time.

The URL comes from the provider's response and is not trusted: the request carries no key, no cookie
and no default header of the client, except for the headers that the caller names for this URL.
"""

from __future__ import annotations

import asyncio
import binascii
import zlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

import httpx

from core.domain.media.content import (
    SourceGoneError,
    SourceMissingError,
    SourceRefusedError,
    SourceUnavailableError,
    TooLargeError,
    TruncatedError,
    UnknownContentError,
    WrongContentError,
)
from core.platform.egress.client import AddressRefusedError

MAX_REDIRECTS = 3
CHUNK_BYTES = 256 * 1024
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_UNSUPPORTED = frozenset({"br", "zstd", "compress", "x-compress", "dcb", "dcz"})
_RETRYABLE_STATUSES = frozenset({408, 425, 429})


@asynccontextmanager
async def open_source(
    client: httpx.AsyncClient,
    url: str,
    *,
    max_bytes: int,
    total_seconds: float,
    idle_seconds: float = 30.0,
    headers: Mapping[str, str] | None = None,
) -> AsyncGenerator[AsyncGenerator[bytes]]:
    """Open a provider's file and yield an iterator over the chunks of the decoded body.

    client: from `core.platform.egress.client`, which checks every address before connecting and
    raises SourceRefusedError. Keys, cookies and headers of the client are not sent.
    url: http, https, or a `data:` URI. At most three redirects are followed, to http(s) only.
    max_bytes: limit of the body, both decoded and as sent; beyond it, TooLargeError is raised.
    headers: for this URL only; a redirect is followed without them.
    total_seconds: limit until the last chunk. idle_seconds: limit between two reads. Beyond either,
    SourceUnavailableError is raised.
    Raises TruncatedError for a body that is shorter than declared or cut off, SourceGoneError for
    410 or an invalid URL, SourceMissingError for another refusal, UnknownContentError for an
    unsupported encoding. Repeating is safe.
    """
    if url[:5].lower() == "data:":
        async with aclosing(_inline_chunks(url, max_bytes)) as inline:
            yield inline
        return
    deadline = asyncio.get_running_loop().time() + total_seconds
    response = await _open(client, url, headers or {}, deadline, httpx.Timeout(idle_seconds))
    try:
        async with aclosing(_body(response, max_bytes, deadline)) as chunks:
            yield chunks
    finally:
        await response.aclose()


async def _open(
    client: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str],
    deadline: float,
    timeout: httpx.Timeout,
) -> httpx.Response:
    try:
        address = httpx.URL(url)
        async with asyncio.timeout_at(deadline):
            for _ in range(MAX_REDIRECTS + 1):
                response = await _get(client, address, headers, timeout)
                if not response.has_redirect_location:
                    break
                await response.aclose()
                address = address.join(response.headers["location"])
                headers = dict[str, str]()
            else:
                raise SourceUnavailableError(f"more than {MAX_REDIRECTS} redirects")
    except httpx.InvalidURL as error:
        raise SourceGoneError("the provider returned an invalid file URL") from error
    except AddressRefusedError as error:
        raise SourceRefusedError(str(error)) from error
    except (TimeoutError, httpx.TransportError) as error:
        raise SourceUnavailableError(
            f"the file server is unreachable: {type(error).__name__}"
        ) from error
    if response.status_code != HTTPStatus.OK:
        await response.aclose()
        raise _refusal(response)
    return response


async def _get(
    client: httpx.AsyncClient,
    address: httpx.URL,
    headers: Mapping[str, str],
    timeout: httpx.Timeout,
) -> httpx.Response:
    if address.scheme not in {"http", "https"} or not address.host:
        raise SourceGoneError(f"a file URL must be http or https, not {address.scheme[:20]!r}")
    if address.port is not None and not 0 < address.port < 65536:
        raise SourceGoneError(f"a file URL has the invalid port {address.port}")
    # client.build_request() would merge in the client's own headers, cookies and parameters.
    request = httpx.Request(
        "GET",
        address,
        headers={
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": "takeone",
            **headers,
        },
        extensions={"timeout": timeout.as_dict()},
    )
    return await client.send(request, stream=True, auth=None, follow_redirects=False)


def _refusal(response: httpx.Response) -> SourceGoneError | SourceUnavailableError:
    status = response.status_code
    if status == HTTPStatus.GONE:
        return SourceGoneError(f"the file is no longer available: {status}")
    if response.is_client_error and status not in _RETRYABLE_STATUSES:
        return SourceMissingError(f"the file is not available: {status}")
    return SourceUnavailableError(f"the file server returned {status}")


async def _body(response: httpx.Response, max_bytes: int, deadline: float) -> AsyncGenerator[bytes]:
    declared = _declared_bytes(response)
    if declared is not None and declared > max_bytes:
        raise TooLargeError(f"the file has {declared} bytes, the limit is {max_bytes}")
    decoder = _decoder(response)
    raw_bytes = decoded_bytes = 0
    async for raw in _raw_chunks(response, deadline):
        raw_bytes += len(raw)
        for chunk in decoder.decode(raw) if decoder else (raw,):
            decoded_bytes += len(chunk)
            if max(raw_bytes, decoded_bytes) > max_bytes:
                raise TooLargeError(f"the file has more than {max_bytes} bytes")
            yield chunk
    if declared is not None and raw_bytes != declared:
        raise TruncatedError(f"{raw_bytes} of {declared} bytes arrived")
    if decoder and not decoder.complete:
        raise TruncatedError(f"the compressed body ends after {raw_bytes} bytes")


async def _raw_chunks(response: httpx.Response, deadline: float) -> AsyncGenerator[bytes]:
    """Yield bytes as they arrive.

    A fixed chunk size would buffer a slow server's bytes and hide its progress from the caller.
    """
    stream = response.aiter_raw()
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            yield chunk
    except TimeoutError as error:
        raise SourceUnavailableError("the file did not arrive within the time limit") from error
    except httpx.TimeoutException as error:
        raise SourceUnavailableError("the file server stopped sending") from error
    except httpx.TransportError as error:
        raise TruncatedError(f"the file was cut off: {type(error).__name__}") from error


def _declared_bytes(response: httpx.Response) -> int | None:
    declared = response.headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else None


def _decoder(response: httpx.Response) -> _Inflater | None:
    """Return the decoder that the Content-Encoding asks for, None for a body that is not encoded.

    Object storage returns what an uploader wrote there, for example `aws-chunked` or `utf-8`. So a
    name that is not a coding is ignored, and the first bytes decide what the body is.
    """
    names = response.headers.get("content-encoding", "").lower().split(",")
    codings = [name for name in map(str.strip, names) if name in _INFLATED | _UNSUPPORTED]
    if not codings:
        return None
    if len(codings) > 1 or codings[0] in _UNSUPPORTED:
        raise UnknownContentError(f"the file has an unsupported content encoding: {codings[:3]}")
    return _Inflater()


class _Inflater:
    """Decompresses gzip or zlib in bounded pieces.

    A server may compress a response despite the request, and a decompression bomb must not fill the
    memory.
    """

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    @property
    def complete(self) -> bool:
        """Return whether the end of the compressed stream was reached."""
        return self._inflate.eof

    def decode(self, raw: bytes) -> Iterator[bytes]:
        """Yield the decompressed pieces of these bytes, each of at most CHUNK_BYTES."""
        pending = raw
        while True:
            try:
                chunk = self._inflate.decompress(pending, CHUNK_BYTES)
            except zlib.error as error:
                raise TruncatedError("the compressed body is damaged") from error
            if chunk:
                yield chunk
            if self._inflate.unused_data:  # zlib keeps it, and it grows with every piece
                raise TruncatedError("the compressed body has data after its end")
            pending = self._inflate.unconsumed_tail
            if not pending and len(chunk) < CHUNK_BYTES:
                return


async def _inline_chunks(uri: str, max_bytes: int) -> AsyncGenerator[bytes]:
    head, comma, payload = uri[5:].partition(",")
    if not comma:
        raise WrongContentError("the data URI has no data")
    if len(payload) > 4 * max_bytes:  # base64 and percent escapes need less than that
        raise TooLargeError(f"the file has more than {max_bytes} bytes")
    content = unquote_to_bytes(payload)
    if head.strip().lower().endswith(";base64"):
        try:
            content = binascii.a2b_base64(content, strict_mode=True)
        except binascii.Error as error:
            raise WrongContentError("the data URI has invalid base64") from error
    if len(content) > max_bytes:
        raise TooLargeError(f"the file has {len(content)} bytes, the limit is {max_bytes}")
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
