"""The paid POST on a real socket: its target and the stored part of its response.

The interpretation of responses is tested in test_create_table.py.
"""

import asyncio

import pytest

from core.domain.failures import FailureCode
from core.providers.http.handles import same_origin
from core.providers.http.transport import ProviderHttp
from core.providers.port import CreateAnswer, CreateOutcome
from core.providers.registry import Providers
from tests.providers.wire import KEYS, Line, answering, full_inputs, serving, settings, submit

pytestmark = pytest.mark.guarantee("G1")

JOB_ID = "5f0c7d0e11114222"
ACCEPTED: dict[str, object] = {"request_id": JOB_ID, "id": JOB_ID, "status": "starting"}
VENDORS = ("fal", "replicate")


async def send(base_url: str, vendor: str = "fal", *, timeout_seconds: float = 3.0) -> CreateAnswer:
    async with Providers.open(settings(base_url)) as providers:
        provider = providers.provider(vendor)
        model = provider.models[0]
        request = provider.create_request(
            model, full_inputs(model), "https://us.example/callbacks/x/token"
        )
        return await submit(provider, request, timeout_seconds=timeout_seconds)


def code_of(answer: CreateAnswer) -> FailureCode | None:
    return answer.failure.code if answer.failure else None


@pytest.mark.parametrize("vendor", VENDORS)
async def test_response_with_an_id_is_accepted(vendor: str) -> None:
    async with serving(answering(201, ACCEPTED)) as wire:
        answer = await send(wire.url, vendor)
    assert (answer.outcome, answer.failure) == (CreateOutcome.ACCEPTED, None)
    assert answer.handle is not None
    assert (answer.handle.provider, answer.handle.provider_job_id) == (vendor, JOB_ID)


async def silence(line: Line) -> None:
    await line.read()
    await asyncio.sleep(1.5)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_throttled_create_waits_as_requested(vendor: str) -> None:
    async with serving(answering(429, {"detail": "Slow."}, {"retry-after": "12"})) as wire:
        answer = await send(wire.url, vendor)
    assert (answer.retry_after_seconds, answer.failure and answer.failure.retryable) == (12, True)


@pytest.mark.parametrize(
    ("body", "headers", "seconds"),
    [
        ({"detail": "Request was throttled. Your rate limit resets in ~30s."}, {}, 30),
        ({"detail": "Request was throttled."}, {"ratelimit-reset": "9"}, 9),
        (
            {"detail": "Request was throttled. Your rate limit resets in ~30s."},
            {"retry-after": "2"},
            2,
        ),
        ({"detail": "Request was throttled."}, {}, 0),
    ],
)
async def test_replicate_throttling_is_read_from_body_or_header(
    body: object, headers: dict[str, str], seconds: float
) -> None:
    async with serving(answering(429, body, headers)) as wire:
        answer = await send(wire.url, "replicate")
    assert answer.retry_after_seconds == seconds


async def test_every_send_has_its_own_connection() -> None:
    async with serving(answering(200, ACCEPTED)) as wire:
        async with Providers.open(settings(wire.url)) as providers:
            provider = providers.provider("fal")
            model = provider.models[0]
            request = provider.create_request(model, full_inputs(model), None)
            for _ in range(3):
                await submit(provider, request)
        assert (wire.connections, len(wire.received)) == (3, 3)
        assert {request.headers["connection"] for request in wire.received} == {"close"}


async def test_environment_proxies_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
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
    async with (
        serving(answering(200, ACCEPTED)) as theirs,
        serving(answering(200, ACCEPTED)) as other,
    ):
        async with (
            Providers.open(settings(theirs.url)) as ours,
            Providers.open(settings(other.url)) as strange,
        ):
            model = ours.provider(vendor).models[0]
            request = strange.provider(vendor).create_request(model, full_inputs(model), None)
            answer = await submit(ours.provider(vendor), request)
        assert (theirs.connections, other.connections) == (0, 0)
    assert (answer.outcome, code_of(answer)) == (
        CreateOutcome.NOT_ACCEPTED,
        FailureCode.INTERNAL_ERROR,
    )


@pytest.mark.parametrize("vendor", VENDORS)
async def test_addresses_on_other_hosts_are_dropped(vendor: str) -> None:
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
async def test_rejection_text_contains_no_key_or_address(vendor: str) -> None:
    message = f"Bad input at https://internal.example/x?k=1 with {KEYS[0]} and {KEYS[1]} on 10.0.0.7:99 in /srv/main.py"
    async with serving(answering(422, {"detail": message})) as wire:
        answer = await send(wire.url, vendor)
    text = repr(answer)
    for secret in (*KEYS, "internal.example", "10.0.0.7", "/srv/app"):
        assert secret not in text
    assert "Bad input at" in text


async def test_closed_clients_leave_nothing_open() -> None:
    async with serving(answering(200, {"status": "x"})) as wire, ProviderHttp() as http:
        assert (await http.read("GET", wire.url)).ok
