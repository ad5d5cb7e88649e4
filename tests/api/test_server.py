"""The HTTP server against clients that are slow, silent, too many, or do not speak HTTP."""

import asyncio
import json
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.http.connections import CLIENT_SECONDS, MAX_FIELDS, MAX_HEAD_BYTES, MAX_PIPELINED
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import insert_api_key, insert_user
from core.store.database import Database
from tests.api.conftest import ENCRYPTION_KEY, NO_LIMITS
from tests.api.processes import Served, served
from tests.api.raw import Raw, first_answer, raw
from tests.support.servers import FreshDatabase, PostgresServer, new_database

GONE_WITHIN_SECONDS = 10.0
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


async def _api_key(database: FreshDatabase) -> str:
    async with Database.open(database.application_dsn) as db, db.as_system() as conn:
        user = await insert_user(conn, Sealer([ENCRYPTION_KEY]), "Ada", NO_LIMITS)
        return (await insert_api_key(conn, user.user_id, "test")).key.text


@asynccontextmanager
async def _served(database: FreshDatabase, **environment: str) -> AsyncGenerator[Served]:
    quiet = {"LOG_LEVEL": "ERROR", **environment}
    async with served(database, "127.0.0.1:9", await _api_key(database), **quiet) as process:
        yield process


@pytest.fixture(scope="module")
async def api(postgres_server: PostgresServer, template_database: str) -> AsyncGenerator[Served]:
    async with (
        new_database(postgres_server, template_database) as database,
        _served(database) as process,
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


async def _cut(api: Served) -> dict[str, float]:
    """Connections that the server has ended so far, by why."""
    text = (await api.http.get(api.metrics_url)).text
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "takeone_api_connections_cut_total"
    }


# ---- slow


async def _drip(client: Raw, data: bytes, seconds: float) -> None:
    """One byte at a time, until somebody minds."""
    try:
        for byte in data:
            await client.send(bytes([byte]))
            await asyncio.sleep(seconds)
    except OSError:
        return


async def _silent(_client: Raw, _api: Served) -> None: ...


async def _slow_head(client: Raw, _api: Served) -> None:
    await _drip(client, GET + b"X-A: " + b"a" * 100, 0.5)


async def _endless_head(client: Raw, _api: Served) -> None:
    await client.send(GET)
    await _drip(client, b"\r\n".join(b"X-%d: 1" % number for number in range(100)), 0.1)


async def _slow_body(client: Raw, api: Served) -> None:
    await client.send(_post(api, "Content-Length: 1000") + b'{"prompt": "')
    await _drip(client, b"a" * 100, 0.5)


async def _slow_chunks(client: Raw, api: Served) -> None:
    await client.send(_post(api, "Transfer-Encoding: chunked"))
    await _drip(client, b"1\r\n{\r\n" * 100, 0.1)


async def _slow_trailers(client: Raw, api: Served) -> None:
    await client.send(_post(api, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n")
    await _drip(client, b"X-A: b\r\n" * 100, 0.1)


async def _slow_body_after_its_answer(client: Raw, _api: Served) -> None:
    await client.send(b"POST /api/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    assert first_answer(await client.receive()).status == 401
    await _drip(client, b"a" * 100, 0.5)


async def _slow_second_head(client: Raw, _api: Served) -> None:
    await client.send(GET + b"\r\n")
    assert first_answer(await client.receive()).status == 200
    await _drip(client, GET, 0.5)


async def _empty_lines_between_requests(client: Raw, _api: Served) -> None:
    await client.send(GET + b"\r\n")
    assert first_answer(await client.receive()).status == 200
    await _drip(client, b"\r\n" * 100, 0.5)


async def _no_reader(client: Raw, _api: Served) -> None:
    await client.send(LARGE)


async def _sip(client: Raw) -> None:
    for _ in range(1000):
        if not await client.receive(200):
            return
        await asyncio.sleep(0.2)


async def _slow_reader(client: Raw, _api: Served) -> None:
    await client.send(LARGE)
    await _sip(client)


async def _slow_reader_of_many(client: Raw, _api: Served) -> None:
    await client.send(LARGE * MAX_PIPELINED)
    await _sip(client)


SLOW: tuple[tuple[Callable[[Raw, Served], Awaitable[None]], str], ...] = (
    (_silent, "silent"),
    (_slow_head, "slow_head"),
    (_endless_head, "slow_head"),
    (_slow_body, "slow_body"),
    (_slow_chunks, "slow_body"),
    (_slow_trailers, "slow_body"),
    (_slow_body_after_its_answer, "slow_body"),
    (_slow_second_head, "slow_head"),
    (_empty_lines_between_requests, "slow_head"),
    (_no_reader, "slow_reader"),
    (_slow_reader, "slow_reader"),
    (_slow_reader_of_many, "slow_reader"),
)


async def _lifetime(api: Served, client_does: Callable[[Raw, Served], Awaitable[None]]) -> float:
    async with raw(_port(api), receive_buffer_bytes=2048) as client:
        doing = asyncio.ensure_future(client_does(client, api))
        try:
            return await client.ended_after(GONE_WITHIN_SECONDS)
        finally:
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)


async def _steady_sender(api: Served) -> None:
    """A head in three seconds and a body in six: not quick, but each in time."""
    async with raw(_port(api)) as client:
        head = _post(api, "Content-Length: 60000")
        await client.send(head[:-2])
        await asyncio.sleep(3)
        await client.send(head[-2:])
        for _ in range(6):
            await client.send(b" " * 10_000)
            await asyncio.sleep(1)
        assert first_answer(await client.receive()).status == 422


async def _steady_reader(api: Served) -> None:
    """13 KB in each second, for ten."""
    async with raw(_port(api), receive_buffer_bytes=2048) as client:
        await client.send(LARGE * 2)
        for _ in range(100):
            assert await client.receive(1300)
            await asyncio.sleep(0.1)


async def _told_so(api: Served, begin: bytes) -> None:
    async with raw(_port(api)) as client:
        await client.send(begin)
        answer = first_answer(await client.receive_all())
    assert answer.status == 408
    assert answer.problem["code"] == "request_timed_out"
    assert answer.problem["retryable"]
    assert answer.headers["connection"] == "close"


async def test_slow_clients_are_cut_off_within_ten_seconds_and_nobody_else(api: Served) -> None:
    before = await _cut(api)
    others = asyncio.gather(
        _steady_sender(api),
        _steady_reader(api),
        _told_so(api, GET),
        _told_so(api, _post(api, "Content-Length: 9") + b"{"),
    )
    lifetimes = await asyncio.gather(*(_lifetime(api, does) for does, _ in SLOW))
    await others
    after = await _cut(api)

    for (does, _), seconds in zip(SLOW, lifetimes, strict=True):
        assert CLIENT_SECONDS <= seconds <= GONE_WITHIN_SECONDS, does.__name__
    wanted = Counter([outcome for _, outcome in SLOW] + ["slow_head", "slow_body"])
    assert {outcome: count - before.get(outcome, 0) for outcome, count in after.items()} == wanted


async def _p99_seconds(api: Served, seconds: float) -> float:
    took_seconds: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.perf_counter()
        assert (await api.http.get("/api/executions")).status_code == 200
        took_seconds.append(time.perf_counter() - started)
        await asyncio.sleep(0.02)
    return sorted(took_seconds)[len(took_seconds) * 99 // 100]


@pytest.mark.long
async def test_honest_requests_stay_quick_amid_a_thousand_slow_clients(
    fresh_database: FreshDatabase,
) -> None:
    """p99 under 200 ms, over half a minute, with nobody slow there for ten seconds."""
    clients, seconds = 1000, 30
    async with _served(fresh_database, RATE_LIMIT_READS="0") as api:
        alone = await _p99_seconds(api, seconds / 3)
        crowd = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.api.crowd", str(_port(api)), str(clients), str(seconds)),
            stdout=asyncio.subprocess.PIPE,
        )
        amid = await _p99_seconds(api, seconds)
        cut = await _cut(api)
        out, _ = await crowd.communicate()

    seen = json.loads(out)
    sys.stdout.write(
        f"p99 {amid * 1000:.0f} ms, alone {alone * 1000:.0f} ms; the crowd: {seen}; cut off: {cut}\n"
    )
    assert amid < 0.2
    assert seen["connections"] > 2 * clients
    assert seen["longest_seconds"] < GONE_WITHIN_SECONDS + 1  # it is looked at from a busy process
    assert {"silent", "slow_head", "slow_body", "slow_reader"} <= cut.keys()


@pytest.mark.long
async def test_nobody_is_cut_off_because_the_server_stood_still(
    fresh_database: FreshDatabase,
) -> None:
    async with _served(fresh_database) as api, raw(_port(api)) as begun, raw(_port(api)) as idle:
        await begun.send(GET)
        await asyncio.sleep(1)
        api.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(CLIENT_SECONDS + 2)
        await begun.send(b"\r\n")
        await idle.send(GET + b"\r\n")
        api.process.send_signal(signal.SIGCONT)
        for client in (begun, idle):
            assert first_answer(await client.receive()).status == 200


# ---- too many


async def test_connections_beyond_the_limit_take_the_place_of_those_idle_longest(
    fresh_database: FreshDatabase,
) -> None:
    async with _served(fresh_database, API_MAX_CONNECTIONS="16") as api, AsyncExitStack() as stack:
        idle: list[Raw] = []
        for _ in range(40):
            idle.append(await stack.enter_async_context(raw(_port(api))))
            await asyncio.sleep(0.01)
        started = time.monotonic()
        async with raw(_port(api)) as honest:
            await honest.send(GET + b"\r\n")
            assert first_answer(await honest.receive()).status == 200
        seconds = time.monotonic() - started
        still_open = [client.is_open for client in idle]

    assert seconds < CLIENT_SECONDS / 2
    assert sum(still_open) <= 16
    assert not any(still_open[:20])
    assert still_open[-1]


# ---- what is not HTTP

HOST = b"Host: x\r\n"
NOT_HTTP: dict[str, tuple[bytes, int]] = {
    "no request": (b"hello\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), 400),
    "no version": (b"GET /healthz\r\n\r\n", 400),
    "unknown version": (b"GET /healthz HTTP/3.0\r\n" + HOST + b"\r\n", 400),
    "unknown method": (b"BREW /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "tunnel": (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", 400),
    "bytes in the path": (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL in the path": (b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL in a header": (GET + b"X-A: a\x00b\r\n\r\n", 400),
    "space before a colon": (GET + b"X-A : b\r\n\r\n", 400),
    "folded header": (GET + b"X-A: b\r\n c\r\n\r\n", 400),
    "lone carriage return": (GET + b"X-A: b\rX-B: c\r\n\r\n", 400),
    "two lengths": (
        b"POST /api/quotes HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        400,
    ),
    "length and chunks": (
        b"POST /api/quotes HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "negative length": (b"POST /api/quotes HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
    "endless length": (
        b"POST /api/quotes HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
        400,
    ),
    "unknown coding": (b"POST /api/quotes HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    "body after an upgrade": (
        b"POST /api/quotes HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 40\r\n\r\n"
        b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n",
        400,
    ),
    "long address": (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "large header": (GET + b"X-A: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
    "endless header name": (GET + b"X" * 2 * MAX_HEAD_BYTES, 431),
    "endless header": (GET + b"X-A: " + b"a" * 2 * MAX_HEAD_BYTES, 431),
    "many headers": (
        GET + b"".join(b"X-%d: 1\r\n" % number for number in range(MAX_FIELDS + 1)) + b"\r\n",
        431,
    ),
}


@pytest.mark.parametrize("case", NOT_HTTP)
async def test_what_is_not_http_is_refused_as_a_problem(api: Served, case: str) -> None:
    data, status = NOT_HTTP[case]
    async with raw(_port(api)) as client:
        await client.send(data)
        received = await asyncio.wait_for(client.receive_all(), 5)

    answer = first_answer(received)
    assert answer.status == status
    assert answer.problem["code"] == {400: "malformed_request", 431: "headers_too_large"}[status]
    assert received.count(b"HTTP/1.1 %d" % status) == 1
    assert (await api.http.get("/healthz")).status_code == 200


async def test_trailers_without_an_end_are_cut_off(api: Served) -> None:
    async with raw(_port(api)) as client:
        await client.send(_post(api, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n")
        await client.send(b"X-A: b\r\n" * (MAX_FIELDS + 1))
        assert await client.ended_after(5) < 5


async def test_upgrade_is_answered_as_if_it_had_not_been_asked_for(api: Served) -> None:
    for protocol in (b"websocket", b"h2c"):
        async with raw(_port(api)) as client:
            await client.send(GET + b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n\r\n")
            assert first_answer(await client.receive()).status == 200


async def test_some_requests_may_be_sent_ahead_and_not_many(api: Served) -> None:
    async with raw(_port(api)) as client:
        await client.send((GET + b"\r\n") * MAX_PIPELINED)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < MAX_PIPELINED:
            answers += await asyncio.wait_for(client.receive(), 5)
    async with raw(_port(api)) as client:
        await client.send((GET + b"\r\n") * 1000)
        await asyncio.wait_for(client.receive_all(), 5)


async def test_answer_to_a_body_that_is_too_large_can_be_read(api: Served) -> None:
    """The rest of the body is taken in and dropped meanwhile: unread, it would reset the
    connection, and the answer.
    """
    async with raw(_port(api)) as client:
        await client.send(_post(api, "Content-Length: 2000000"))
        await client.send(b" " * 2_000_000)
        answers = await client.receive()
        assert first_answer(answers).status == 413
        await client.send(GET + b"\r\n")
        while b"HTTP/1.1 200" not in answers:
            answers += await asyncio.wait_for(client.receive(), 5)


async def test_client_that_resets_is_no_error(api: Served) -> None:
    for _ in range(20):
        async with raw(_port(api)) as client:
            await client.send(LARGE)
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert (await api.http.get("/healthz")).status_code == 200
