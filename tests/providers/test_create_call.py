"""The paid POST on a real socket: what is UNKNOWN, what is certain, and that there is never a second one."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from contracts.failures import FailureCode
from providers.answers import Answer, retry_after_seconds, scrubbed
from providers.http import BODY_MAX_BYTES, ProviderHttp, same_origin
from providers.port import CreateAnswer, CreateOutcome
from providers.registry import Providers
from tests.providers.wire import KEYS, Line, Script, answering, full_inputs, serving, settings, submit

JOB_ID = "5f0c7d0e11114222"
ACCEPTED: dict[str, object] = {"request_id": JOB_ID, "id": JOB_ID, "status": "starting"}
VENDORS = ("fal", "replicate")


async def send(base_url: str, vendor: str = "fal", *, timeout_seconds: float = 3.0) -> CreateAnswer:
    async with Providers.open(settings(base_url)) as providers:
        provider = providers.provider(vendor)
        model = provider.models[0]
        request = provider.create_request(model, full_inputs(model), "https://us.example/callbacks/x/token")
        return await submit(provider, request, timeout_seconds=timeout_seconds)


def code_of(answer: CreateAnswer) -> FailureCode | None:
    return answer.failure.code if answer.failure else None


@pytest.mark.parametrize("vendor", VENDORS)
async def test_answer_with_an_id_is_accepted(vendor: str) -> None:
    async with serving(answering(201, ACCEPTED)) as wire:
        answer = await send(wire.url, vendor)
    assert (answer.outcome, answer.failure) == (CreateOutcome.ACCEPTED, None)
    assert answer.handle is not None
    assert (answer.handle.provider, answer.handle.provider_job_id) == (vendor, JOB_ID)


async def close_unread(_: Line) -> None:
    """The connection is accepted and closed."""


async def close_after_headers(line: Line) -> None:
    await line.read_headers()


async def close_after_body(line: Line) -> None:
    await line.read()


async def reset_after_body(line: Line) -> None:
    await line.read()
    line.reset()


async def half_a_status_line(line: Line) -> None:
    await line.read()
    await line.write(b"HTTP/1.1 20")


async def half_a_body(line: Line) -> None:
    await line.read()
    raw = json.dumps(ACCEPTED).encode()
    await line.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw[:-5])


async def half_a_refusal(line: Line) -> None:
    await line.read()
    raw = b'{"detail": "No such model"}'
    await line.write(b"HTTP/1.1 404 -\r\ncontent-length: %d\r\n\r\n" % (len(raw) + 10) + raw)


async def half_a_json_without_length(line: Line) -> None:
    await line.read()
    await line.write(b'HTTP/1.1 200 OK\r\n\r\n{"request_id": "abc')


async def no_http_at_all(line: Line) -> None:
    await line.read()
    await line.write(b"SSH-2.0-OpenSSH_9.6\r\n")


async def silence(line: Line) -> None:
    await line.read()
    await asyncio.sleep(1.5)


async def drip(line: Line) -> None:
    """Each byte comes in time, the whole never does: only an overall deadline ends this."""
    await line.read()
    await line.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    for _ in range(15):
        await line.write(b" ")
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "script",
    [close_unread, close_after_headers, close_after_body, reset_after_body, half_a_status_line, half_a_body,
     half_a_refusal, half_a_json_without_length, no_http_at_all, silence, drip],
)  # fmt: skip
async def test_lost_answer_is_unknown_and_sent_once(script: Script) -> None:
    async with serving(script) as wire:
        answer = await send(wire.url, timeout_seconds=0.7)
        await asyncio.sleep(0.05)
        assert wire.connections == 1
    assert answer.outcome is CreateOutcome.UNKNOWN
    assert answer.failure is None


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, {}, {}),
        (200, {"request_id": None, "id": 7}, {}),
        (200, {"request_id": "../../etc", "id": "a b"}, {}),
        (200, b"", {}),
        (200, b'{"request_id": "abc', {}),
        (200, b"[" * 100_000, {}),
        (200, b"<html>ok</html>", {"content-type": "text/html"}),
        (200, b'"' + b"x" * (10 * BODY_MAX_BYTES) + b'"', {}),
        (302, ACCEPTED, {"location": "http://127.0.0.1:1/"}),
        (408, {"detail": "Timeout"}, {}),
        (409, {"detail": "Conflict"}, {}),
        (500, {"detail": "Internal error"}, {}),
        (502, b"<html>Bad gateway</html>", {"content-type": "text/html"}),
        (503, {"detail": "Unavailable", "error_type": "runner_scheduling_failure"}, {}),
        (504, {"detail": "Timed out", "error_type": "request_timeout"}, {}),
        (401, b"<html>Forbidden by proxy</html>", {"content-type": "text/html"}),
        (403, {"message": "Forbidden"}, {}),
        (404, b"", {}),
        (413, b"<html>too large</html>", {"content-type": "text/html"}),
        (422, b'{"detail": ', {}),
        (429, b"slow down", {"content-type": "text/plain"}),
        (418, {"detail": "I'm a teapot"}, {}),
    ],
)
@pytest.mark.parametrize("vendor", VENDORS)
async def test_answer_that_is_not_definite_is_unknown(
    vendor: str, status: int, body: object, headers: dict[str, str]
) -> None:
    async with serving(answering(status, body, headers)) as wire:
        answer = await send(wire.url, vendor)
        assert [heard.method for heard in wire.heard] == ["POST"]
    assert answer.outcome is CreateOutcome.UNKNOWN
    assert len(answer.note) < 60


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, FailureCode.PROVIDER_REJECTED_INPUT),
        (401, FailureCode.PROVIDER_AUTH_FAILED),
        (402, FailureCode.PROVIDER_CREDIT_EXHAUSTED),
        (403, FailureCode.PROVIDER_AUTH_FAILED),
        (404, FailureCode.PROVIDER_MODEL_UNAVAILABLE),
        (413, FailureCode.PROVIDER_REJECTED_INPUT),
        (415, FailureCode.PROVIDER_REJECTED_INPUT),
        (422, FailureCode.PROVIDER_REJECTED_INPUT),
        (429, FailureCode.PROVIDER_RATE_LIMITED),
    ],
)
@pytest.mark.parametrize("vendor", VENDORS)
async def test_refusal_in_the_vendors_form_is_not_accepted(vendor: str, status: int, code: FailureCode) -> None:
    async with serving(answering(status, {"detail": "No."})) as wire:
        answer = await send(wire.url, vendor)
    assert (answer.outcome, code_of(answer), answer.status_code) == (CreateOutcome.NOT_ACCEPTED, code, status)


async def test_refusal_before_the_body_was_read_counts() -> None:
    async def script(line: Line) -> None:
        await line.answer(401, {"detail": "Invalid key"}, {"connection": "close"})
        await line.read_headers()

    async with serving(script) as wire:
        answer = await send(wire.url)
    assert code_of(answer) is FailureCode.PROVIDER_AUTH_FAILED


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0", 0), ("-1", 0), ("1000000000", 300), ("9" * 400, 300), ("1.5", 1.5), (" 3 ", 3), ("soon", 0),
     ("", 0), ("nan", 0), ("inf", 0), ("0x10", 0), ("٣", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
     ("Sun, 22 Nov 2026 10:01:00 GMT", 60), ("Sun, 22 Nov 2026 10:01:00 -0000", 60),
     ("Fri, 31 Dec 2999 23:59:59 GMT", 300), ("Sun, 99 Nov 2026 10:01:00 GMT", 0), (None, 0)],
)  # fmt: skip
def test_retry_after_every_spelling_is_bounded_seconds(header: str | None, seconds: float) -> None:
    assert retry_after_seconds(header, datetime(2026, 11, 22, 10, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("vendor", VENDORS)
async def test_throttled_create_waits_as_asked(vendor: str) -> None:
    async with serving(answering(429, {"detail": "Slow."}, {"retry-after": "12"})) as wire:
        answer = await send(wire.url, vendor)
    assert (answer.retry_after_seconds, answer.failure and answer.failure.retryable) == (12, True)


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"detail": "Request was throttled. Your rate limit resets in ~30s."}, {}, 30),
        ({"detail": "Request was throttled."}, {"ratelimit-reset": "9"}, 9),
        ({"detail": "Request was throttled. Your rate limit resets in ~30s."}, {"retry-after": "2"}, 2),
        ({"detail": "Request was throttled."}, {}, 0),
    ],
)
async def test_replicate_throttling_is_read_where_it_stands(
    body: object, headers: dict[str, str], seconds: float
) -> None:
    async with serving(answering(429, body, headers)) as wire:
        answer = await send(wire.url, "replicate")
    assert answer.retry_after_seconds == seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def unreachable() -> str:
    return f"http://127.0.0.1:{free_port()}"


async def unresolvable() -> str:
    return "http://provider.invalid"


@pytest.mark.parametrize("address", [unreachable, unresolvable])
async def test_nothing_left_is_certainly_not_accepted(address: Callable[[], Awaitable[str]]) -> None:
    answer = await send(await address())
    assert (answer.outcome, code_of(answer)) == (CreateOutcome.NOT_ACCEPTED, FailureCode.PROVIDER_UNAVAILABLE)


async def test_tls_that_fails_is_certainly_not_accepted() -> None:
    async def script(line: Line) -> None:
        await line.write(b"no TLS here\r\n")
        await asyncio.sleep(0.2)

    async with serving(script) as wire:
        answer = await send(wire.url.replace("http://", "https://"))
        assert wire.connections == 1
    assert (answer.outcome, code_of(answer)) == (CreateOutcome.NOT_ACCEPTED, FailureCode.PROVIDER_UNAVAILABLE)


async def test_every_send_has_a_connection_of_its_own() -> None:
    async with serving(answering(200, ACCEPTED)) as wire:
        async with Providers.open(settings(wire.url)) as providers:
            provider = providers.provider("fal")
            model = provider.models[0]
            request = provider.create_request(model, full_inputs(model), None)
            for _ in range(3):
                await submit(provider, request)
        assert (wire.connections, len(wire.heard)) == (3, 3)
        assert {heard.headers["connection"] for heard in wire.heard} == {"close"}


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(200, ACCEPTED)) as wire, serving(answering(500, {})) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        answer = await send(wire.url)
        assert (answer.outcome, proxy.connections) == (CreateOutcome.ACCEPTED, 0)


async def test_cancelled_send_raises_cancellation() -> None:
    async with serving(silence) as wire:
        task = asyncio.create_task(send(wire.url))
        await wire.arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("vendor", VENDORS)
async def test_request_for_another_host_is_not_sent(vendor: str) -> None:
    async with serving(answering(200, ACCEPTED)) as theirs, serving(answering(200, ACCEPTED)) as other:
        async with Providers.open(settings(theirs.url)) as ours, Providers.open(settings(other.url)) as strange:
            model = ours.provider(vendor).models[0]
            request = strange.provider(vendor).create_request(model, full_inputs(model), None)
            answer = await submit(ours.provider(vendor), request)
        assert (theirs.connections, other.connections) == (0, 0)
    assert (answer.outcome, code_of(answer)) == (CreateOutcome.NOT_ACCEPTED, FailureCode.INTERNAL_ERROR)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_addresses_on_other_hosts_are_forgotten(vendor: str) -> None:
    evil = "http://evil.example/x"
    body = ACCEPTED | {
        "status_url": evil,
        "response_url": evil,
        "cancel_url": evil,
        "urls": {"get": evil, "cancel": evil},
    }
    async with serving(answering(200, body)) as wire:
        answer = await send(wire.url, vendor)
    assert answer.handle is not None
    assert answer.handle.urls == {}


@pytest.mark.parametrize(
    ("url", "same"),
    [("https://queue.fal.run/a", True), ("https://queue.fal.run:443/a", True), ("https://queue.fal.run.evil/a", False),
     ("https://queue.fal.run@evil/a", False), ("https://x@queue.fal.run/a", False), ("http://queue.fal.run/a", False),
     ("https://queue.fal.run:8443/", False), ("//queue.fal.run/", False), ("", False), ("https://[", False),
     ("https://queue.fal.run:x/", False)],
)  # fmt: skip
def test_same_origin_is_scheme_host_and_port(url: str, same: bool) -> None:
    assert same_origin(url, "https://queue.fal.run") is same


@pytest.mark.parametrize("vendor", VENDORS)
async def test_refusal_repeats_no_key_and_no_address(vendor: str) -> None:
    told = (
        f"Bad input at https://internal.example/x?k=1 with {KEYS[0]} and {KEYS[1]} on 10.0.0.7:99 in /srv/app/main.py"
    )
    async with serving(answering(422, {"detail": told})) as wire:
        answer = await send(wire.url, vendor)
    text = repr(answer)
    for secret in (*KEYS, "internal.example", "10.0.0.7", "/srv/app"):
        assert secret not in text
    assert "Bad input at" in text


def test_scrubbed_text_is_short_and_plain() -> None:
    text = scrubbed("wide\x00\n\u2028 " + "word " * 100 + "Traceback (most recent call last): secret")
    assert len(text) <= 160
    assert text.startswith("wide word word")


def test_answer_shows_no_body() -> None:
    assert "sesame" not in repr(Answer(status_code=200, headers={}, body=b"sesame"))


async def test_closed_clients_leave_nothing_open() -> None:
    async with serving(answering(200, {"status": "x"})) as wire, ProviderHttp() as http:
        assert (await http.read("GET", wire.url)).ok
