"""The HTTP server: requests that are not HTTP, too many connections, clients that misbehave."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS
from tests.api.processes import Served, served
from tests.api.raw import first_answer, raw
from tests.support.servers import FreshDatabase, PostgresServer, new_database

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
HOST = b"Host: x\r\n"
MAX_CONNECTIONS = 16


async def create_api_key(database: FreshDatabase) -> str:
    async with Database.open(database.application_dsn) as db, db.as_system() as conn:
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "Ada", NO_LIMITS)
        return (await insert_api_key(conn, user.user_id, "test")).key.text


@asynccontextmanager
async def quiet_api(database: FreshDatabase, **environment: str) -> AsyncGenerator[Served]:
    """Run an API process that logs errors only."""
    settings = {"LOG_LEVEL": "ERROR", **environment}
    key = await create_api_key(database)
    async with served(database, "127.0.0.1:9", key, **settings) as process:
        yield process


@pytest.fixture(scope="module")
async def api(postgres_server: PostgresServer, template_database: str) -> AsyncGenerator[Served]:
    async with (
        new_database(postgres_server, template_database) as database,
        quiet_api(database) as process,
    ):
        yield process


def _port(api: Served) -> int:
    return int(api.url.rpartition(":")[2])


def _post(api: Served, *headers: str) -> bytes:
    lines = [
        "POST /api/quotes HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Authorization: {api.http.headers['authorization']}",
        *headers,
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


async def test_requests_beyond_the_connection_limit_get_503(fresh_database: FreshDatabase) -> None:
    limit = str(MAX_CONNECTIONS)
    async with quiet_api(fresh_database, API_MAX_CONNECTIONS=limit) as api:
        async with AsyncExitStack() as stack:
            for _ in range(MAX_CONNECTIONS):
                await stack.enter_async_context(raw(_port(api)))
            await _wait_for_status(api, 503)
        await _wait_for_status(api, 200)


async def _wait_for_status(api: Served, status: int) -> None:
    """Wait: connections are accepted and closed a moment after the client's call returns."""
    for _ in range(100):
        if (await api.http.get("/healthz")).status_code == status:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"no answer with {status}")


NOT_HTTP: dict[str, bytes] = {
    "no request": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "unknown version": b"GET /healthz HTTP/3.0\r\n" + HOST + b"\r\n",
    "unknown method": b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the path": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in a header": GET + b"X-A: a\x00b\r\n\r\n",
    "space before a colon": GET + b"X-A : b\r\n\r\n",
    "folded header": GET + b"X-A: b\r\n c\r\n\r\n",
    "lone carriage return": GET + b"X-A: b\rX-B: c\r\n\r\n",
    "two lengths": b"POST /api/quotes HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "length and chunks": (
        b"POST /api/quotes HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n"
    ),
    "negative length": b"POST /api/quotes HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "endless length": (b"POST /api/quotes HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n"),
    "no host": b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n",
    "two hosts": GET + b"Host: y\r\n\r\n",
    "empty host": b"GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
    "host with a path": b"GET /healthz HTTP/1.1\r\nHost: x/y\r\n\r\n",
    "host with a user": b"GET /healthz HTTP/1.1\r\nHost: u@x\r\n\r\n",
    "host with a wrong port": b"GET /healthz HTTP/1.1\r\nHost: x:port\r\n\r\n",
    "two hosts in one": b"GET /healthz HTTP/1.1\r\nHost: x, y\r\n\r\n",
}


@pytest.mark.parametrize("case", NOT_HTTP)
async def test_malformed_http_gets_400_and_closes(api: Served, case: str) -> None:
    async with raw(_port(api)) as client:
        await client.send(NOT_HTTP[case])
        received = await asyncio.wait_for(client.receive_all(), 5)

    assert first_answer(received).status == 400
    assert received.count(b"HTTP/1.1 ") == 1
    assert (await api.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked", "identity", "x"])
async def test_unknown_transfer_coding_gets_501_and_closes(api: Served, coding: str) -> None:
    head = f"POST /api/quotes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n"
    async with raw(_port(api)) as client:
        await client.send(head.encode() + b"0\r\n\r\n")
        received = await asyncio.wait_for(client.receive_all(), 5)

    assert first_answer(received).status == 501
    assert received.count(b"HTTP/1.1 ") == 1


async def test_hosts_of_every_valid_form_are_served(api: Served) -> None:
    for head in ("HTTP/1.0\r\n", *(f"HTTP/1.1\r\nHost: {host}\r\n" for host in (
        "x", "x:8080", "my_api.internal", "127.0.0.1:1", "[::1]:8080", "xn--bcher-kva.example"
    ))):  # fmt: skip
        async with raw(_port(api)) as client:
            await client.send(f"GET /healthz {head}Connection: close\r\n\r\n".encode())
            received = await asyncio.wait_for(client.receive_all(), 5)
        assert first_answer(received).status == 200, head


async def test_body_after_an_upgrade_is_not_read_as_a_request(api: Served) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    head = b"POST /api/quotes HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n"
    async with raw(_port(api)) as client:
        await client.send(head % len(smuggled) + b"\r\n" + smuggled)
        received = await client.receive()
        assert first_answer(received).status in (400, 401)
        await asyncio.sleep(0.3)
        assert received.count(b"HTTP/1.1 ") == 1


async def test_upgrade_requests_are_answered_without_an_upgrade(api: Served) -> None:
    for protocol in (b"websocket", b"h2c"):
        async with raw(_port(api)) as client:
            await client.send(GET + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n")
            assert first_answer(await client.receive()).status == 200


async def test_response_to_an_oversized_body_can_be_read(api: Served) -> None:
    """The server drops the rest of the body: unread, it would reset the connection."""
    async with raw(_port(api)) as client:
        await client.send(_post(api, "Content-Length: 2000000"))
        await client.send(b" " * 2_000_000)
        responses = await client.receive()
        assert first_answer(responses).status == 413
        await client.send(GET + b"\r\n")
        while b"HTTP/1.1 200" not in responses:
            responses += await asyncio.wait_for(client.receive(), 5)


async def test_reset_connections_do_not_disturb_the_server(api: Served) -> None:
    for _ in range(20):
        async with raw(_port(api)) as client:
            await client.send(LARGE)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert (await api.http.get("/healthz")).status_code == 200


async def test_head_is_answered_wherever_get_is(api: Served) -> None:
    document = (await api.http.get("/openapi.json")).json()
    paths = [
        path
        for path, methods in document["paths"].items()
        if "get" in methods and "text/event-stream" not in str(methods["get"]["responses"])
    ]  # a stream does not end
    assert paths
    for path in paths:
        get, head = await api.http.get(path), await api.http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers["content-type"] == get.headers["content-type"], path
    assert (await api.http.head("/api/generate-video")).status_code == 405
