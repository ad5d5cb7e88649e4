from __future__ import annotations

import base64
import gzip
import time
import tracemalloc
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest

from core.domain.media.content import (
    MediaError,
    SourceGoneError,
    SourceUnavailableError,
    TooLargeError,
    TruncatedError,
    UnknownContentError,
    WrongContentError,
)
from core.store.files.downloads import open_source
from tests.store.files.file_server import MP4_HEAD, ODD_HEADS, FileServer, file_server, mp4_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

pytestmark = pytest.mark.guarantee("G6", "G7")

MIB = 1024 * 1024


@pytest.fixture
async def files() -> AsyncGenerator[FileServer]:
    async with file_server() as served:
        yield served
        await served.wait_until_closed()  # no connection stays open, also after a failure


@pytest.fixture
async def client() -> AsyncGenerator[httpx.AsyncClient]:
    """Open a client with credentials and defaults that must not reach a file server."""
    async with httpx.AsyncClient(
        headers={"Authorization": "Key provider-secret", "X-Ours": "1"},
        cookies={"session": "ours"},
        params={"token": "ours"},
        auth=("user", "provider-secret"),
        follow_redirects=True,
    ) as client:
        yield client


async def fetch(
    client: httpx.AsyncClient,
    url: str,
    *,
    max_bytes: int = 10 * MIB,
    total_seconds: float = 10,
    idle_seconds: float = 5,
) -> bytes:
    async with open_source(
        client, url, max_bytes=max_bytes, total_seconds=total_seconds, idle_seconds=idle_seconds
    ) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def read(
    client: httpx.AsyncClient, url: str, *, max_bytes: int, see: Callable[[bytes], None]
) -> None:
    async with open_source(client, url, max_bytes=max_bytes, total_seconds=20) as chunks:
        async for chunk in chunks:
            see(chunk)


@pytest.mark.parametrize("kind", ["file", "chunked", "gzip"])
async def test_open_source_gives_the_whole_body(
    files: FileServer, client: httpx.AsyncClient, kind: str
) -> None:
    assert await fetch(client, f"{files.url}/{kind}/3000000") == mp4_bytes(3_000_000)


async def test_open_source_sends_no_client_credentials(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    await fetch(client, f"{files.url}/redirects/1?signature=theirs")
    assert len(files.requests) == 3
    assert "?signature=theirs" in files.requests[0]
    for head in files.requests:
        lowered = head.lower()
        assert "accept-encoding: identity" in lowered
        for secret in ("authorization", "provider-secret", "cookie", "ours"):
            assert secret not in lowered


@pytest.mark.parametrize("kind", ["short", "chunked-cut", "gzip-cut"])
async def test_open_source_cut_off_is_truncated(
    files: FileServer, client: httpx.AsyncClient, kind: str
) -> None:
    with pytest.raises(TruncatedError):
        await fetch(client, f"{files.url}/{kind}/200000")


async def test_open_source_shorter_than_declared_is_truncated() -> None:
    """The HTTP client checks the length of HTTP/1.1 bodies itself, but not of other transports."""

    async def short(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            200, headers={"content-length": "2000"}, stream=_Bytes(mp4_bytes(1000))
        )

    async with httpx.AsyncClient(transport=httpx.MockTransport(short)) as client:
        with pytest.raises(TruncatedError, match="1000 of 2000"):
            await fetch(client, "http://files.example/video.mp4")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
async def test_open_source_refused_is_final_only_after_410(
    files: FileServer, client: httpx.AsyncClient, status: int
) -> None:
    with pytest.raises(SourceGoneError, match=str(status)) as raised:
        await fetch(client, f"{files.url}/status/{status}")
    assert raised.value.retryable_for_minutes == (status != 410)


@pytest.mark.parametrize("status", [204, 304, 408, 425, 429, 500, 502, 503, 504])
async def test_open_source_in_trouble_is_retryable(
    files: FileServer, client: httpx.AsyncClient, status: int
) -> None:
    with pytest.raises(SourceUnavailableError, match=str(status)) as raised:
        await fetch(client, f"{files.url}/status/{status}")
    assert raised.value.retryable


async def test_open_source_closed_port_is_retryable(
    client: httpx.AsyncClient, files: FileServer
) -> None:
    with pytest.raises(SourceUnavailableError):
        await fetch(client, "http://127.0.0.1:1/video.mp4")


async def test_open_source_declared_too_large_reads_no_byte(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    """The response head decides, because the server never sends the body."""
    with pytest.raises(TooLargeError):
        await fetch(client, f"{files.url}/claims/{10 * MIB + 1}")


async def test_open_source_endless_stops_at_the_limit(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    received = 0

    def count(chunk: bytes) -> None:
        nonlocal received
        received += len(chunk)

    with pytest.raises(TooLargeError):
        await read(client, f"{files.url}/endless/", max_bytes=5 * MIB, see=count)
    assert 4 * MIB < received <= 5 * MIB


async def test_open_source_of_exactly_the_limit_passes(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    assert len(await fetch(client, f"{files.url}/file/50000", max_bytes=50_000)) == 50_000
    with pytest.raises(TooLargeError):
        await fetch(client, f"{files.url}/chunked/50001", max_bytes=50_000)


async def test_open_source_gzip_bomb_does_not_unfold_in_memory(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    received = 0

    def count(chunk: bytes) -> None:
        nonlocal received
        if not received:
            tracemalloc.start()
        received += len(chunk)

    try:
        with pytest.raises(TooLargeError):
            await read(client, f"{files.url}/gzip-bomb/{200 * MIB}", max_bytes=100 * MIB, see=count)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received > 90 * MIB
    assert peak_bytes < 4 * MIB


async def test_open_source_keeps_nothing_of_what_follows_a_compressed_body(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TruncatedError, match="after its end"):
            await fetch(client, f"{files.url}/gzip-and-more/{50 * MIB}", max_bytes=100 * MIB)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * MIB


@pytest.mark.parametrize("head", ODD_HEADS)
async def test_open_source_malformed_head_is_a_media_error(
    files: FileServer, client: httpx.AsyncClient, head: str
) -> None:
    with pytest.raises(MediaError):
        await fetch(client, f"{files.url}/odd-head/{head}", total_seconds=3)
    assert files.requests


@pytest.mark.parametrize("kind", ["endless-head", "dripping-head", "endless-hints"])
async def test_open_source_head_without_an_end_is_given_up(
    files: FileServer, client: httpx.AsyncClient, kind: str
) -> None:
    started_at = time.monotonic()
    with pytest.raises(SourceUnavailableError):
        await fetch(client, f"{files.url}/{kind}/", total_seconds=0.8, idle_seconds=0.5)
    assert time.monotonic() - started_at < 15


@pytest.mark.parametrize("encoding", ["br", "zstd", "aws-chunked, br", "gzip, gzip"])
async def test_open_source_unsupported_encoding_is_retried_for_minutes(
    files: FileServer, client: httpx.AsyncClient, encoding: str
) -> None:
    with pytest.raises(UnknownContentError, match=encoding[-3:].strip()) as raised:
        await fetch(client, f"{files.url}/encoded/{quote(encoding)}")
    assert raised.value.retryable_for_minutes


@pytest.mark.parametrize(
    "encoding",
    ["aws-chunked", "aws-chunked, identity", "", ",", "identity", "binary", "UTF-8", "none", "x"],
)
async def test_open_source_ignores_what_is_not_a_coding(
    files: FileServer, client: httpx.AsyncClient, encoding: str
) -> None:
    assert await fetch(client, f"{files.url}/encoded/{quote(encoding)}") == mp4_bytes(1000)


async def test_open_source_inflates_gzip_in_a_list_of_names() -> None:
    content = gzip.compress(mp4_bytes(1000))

    async def encoded(_: httpx.Request) -> httpx.Response:
        headers = {"content-encoding": "GZIP, aws-chunked"}
        return httpx.Response(200, headers=headers, stream=_Bytes(content))

    async with httpx.AsyncClient(transport=httpx.MockTransport(encoded)) as client:
        assert await fetch(client, "http://files.example/video.mp4") == mp4_bytes(1000)


@pytest.mark.parametrize("kind", ["silent/", "stall/0", "stall/100000"])
async def test_open_source_stalling_ends_at_the_idle_time(
    files: FileServer, client: httpx.AsyncClient, kind: str
) -> None:
    started_at = time.monotonic()
    with pytest.raises(SourceUnavailableError):
        await fetch(client, f"{files.url}/{kind}", total_seconds=20, idle_seconds=0.3)
    assert 0.25 < time.monotonic() - started_at < 15


async def test_open_source_dripping_ends_at_the_total_time(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    started_at = time.monotonic()
    with pytest.raises(SourceUnavailableError):
        await fetch(client, f"{files.url}/drip/", total_seconds=0.8, idle_seconds=0.5)
    assert 0.7 < time.monotonic() - started_at < 15


async def test_open_source_follows_three_redirects_and_no_more(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    assert await fetch(client, f"{files.url}/redirects/2") == mp4_bytes(1000)
    with pytest.raises(SourceUnavailableError, match="redirects"):
        await fetch(client, f"{files.url}/redirects/3")


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "ftp://host/a", "//host/a", "http://", "", "x"]
)
async def test_open_source_other_than_http_is_refused(
    client: httpx.AsyncClient, address: str
) -> None:
    with pytest.raises(SourceGoneError):
        await fetch(client, address)


async def test_open_source_redirect_off_http_is_refused(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    with pytest.raises(SourceGoneError, match="file"):
        await fetch(client, f"{files.url}/to-file-scheme/")


async def test_open_source_reader_leaving_early_closes_the_connection(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    async with open_source(
        client, f"{files.url}/endless/", max_bytes=1 << 40, total_seconds=10
    ) as chunks:
        assert (await anext(chunks)).startswith(MP4_HEAD)
        assert files.open_connections == 1
    await files.wait_until_closed()


async def test_open_source_error_texts_carry_no_address(
    files: FileServer, client: httpx.AsyncClient
) -> None:
    texts: list[str] = []
    for path in ("status/403", "status/500", "short/10", "html/", "claims/99999999", "redirects/9"):
        try:
            await fetch(client, f"{files.url}/{path}?signature=theirs")
        except MediaError as error:
            texts.append(str(error))
    assert len(texts) == 5
    assert not [text for text in texts if "signature" in text or "127.0.0.1" in text]


async def test_open_source_reads_data_uris(client: httpx.AsyncClient) -> None:
    content = mp4_bytes(700_000)
    encoded = base64.b64encode(content).decode()
    assert await fetch(client, f"data:video/mp4;base64,{encoded}") == content
    assert await fetch(client, f"DATA:;base64,{encoded}") == content
    assert await fetch(client, "data:,a%20b") == b"a b"
    with pytest.raises(TooLargeError):
        await fetch(client, f"data:;base64,{encoded}", max_bytes=len(content) - 1)
    for broken in (
        "data:video/mp4;base64",
        "data:;base64,AAA",
        "data:;base64,A=AA",
        "data:;base64,!!!!",
    ):
        with pytest.raises(WrongContentError):
            await fetch(client, broken)


class _Bytes(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        yield self._content
