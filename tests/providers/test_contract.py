"""The contract of every provider, checked against its required recordings."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from core.domain.messages.jobs import JobReport
from core.platform.clock import ClockOffset, boot_seconds
from core.providers.models import Model
from core.providers.port import (
    CallbackRefusedError,
    CallbackUnverifiableError,
    Lookup,
    Provider,
    ProviderUnavailableError,
)
from core.providers.registry import OWN_KEY_PROVIDERS, PROVIDER_NAMES, Providers
from tests.providers import replay
from tests.providers.wire import (
    CALLING_BACK,
    KEYS,
    OFFLINE,
    answering,
    full_inputs,
    handle_of,
    serving,
    settings,
    submit,
)

pytestmark = pytest.mark.guarantee("G6")

ROOT = Path(__file__).parents[2]
CALLBACK_URL = "https://us.example/callbacks/x/token"


def cases(operation: str) -> list[tuple[str, str]]:
    return [(vendor, name) for vendor in PROVIDER_NAMES for name in replay.names(vendor, operation)]


def model_of(provider: Provider, recording: replay.Recording) -> Model:
    return next(model for model in provider.models if model.id == recording["model"])


@pytest.mark.parametrize("vendor", PROVIDER_NAMES)
def test_required_recordings_exist(vendor: str) -> None:
    assert set(replay.names(vendor)) >= replay.required(vendor)
    assert all(replay.load(vendor, name)["source"] for name in replay.names(vendor))


def test_contract_runs_over_all_vendor_files() -> None:
    vendors = ROOT / "core" / "providers" / "vendors"
    folders = {path.parent.name for path in vendors.glob("*/*.py")}
    assert {path.name for path in vendors.glob("*.py")} == {"__init__.py"}
    assert folders == set(PROVIDER_NAMES)


@pytest.mark.parametrize(("vendor", "name"), cases("create_"))
async def test_create_is_interpreted_as_recorded(vendor: str, name: str) -> None:
    recording = replay.load(vendor, name)
    expect = recording["expect"]
    async with replay.replaying(recording) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider(vendor)
        model = model_of(provider, recording)
        request = provider.create_request(model, full_inputs(model), CALLBACK_URL)
        answer = await submit(provider, request)
        assert len(wire.received) == 1
    assert answer.outcome == expect["outcome"]
    assert (answer.failure.code if answer.failure else None) == expect.get("failure")
    assert answer.retry_after_seconds == expect.get("retry_after_seconds", 0)
    assert (answer.handle.provider_job_id if answer.handle else None) == expect.get(
        "provider_job_id"
    )
    assert expect.get("says", "") in (answer.failure.message if answer.failure else "")


@pytest.mark.parametrize(("vendor", "name"), cases("status_"))
async def test_status_is_interpreted_as_recorded(vendor: str, name: str) -> None:
    recording = replay.load(vendor, name)
    expect = recording["expect"]
    async with replay.replaying(recording) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider(vendor)
        model = model_of(provider, recording)
        handle = handle_of(provider, model, recording["provider_job_id"])
        if expect.get("unavailable"):
            with pytest.raises(ProviderUnavailableError) as raised:
                await provider.status(handle)
            assert raised.value.retry_after_seconds == expect.get("retry_after_seconds", 0)
            return
        report = await provider.status(handle)
    check_report(report, expect, wire.url)
    if report.state.ended:
        cost = provider.cost(model, full_inputs(model), report)
        assert (cost.nano_usd, cost.basis) == (expect["cost_nano_usd"], expect["basis"])


def check_report(report: JobReport, expect: dict[str, Any], base_url: str) -> None:
    assert report.state == expect["state"]
    assert (report.failure.code if report.failure else None) == expect.get("failure")
    outputs = [[url.replace("{base}", base_url), kind] for url, kind in expect.get("outputs", [])]
    assert [[output.url, output.kind] for output in report.outputs] == outputs
    assert expect.get("says", "") in (report.failure.message if report.failure else "")
    if "billed_units" in expect:
        assert report.billed_units == expect["billed_units"]
    if "run_seconds" in expect:
        assert report.run_seconds == expect["run_seconds"]


@pytest.mark.parametrize(("vendor", "name"), cases("find_"))
async def test_find_is_interpreted_as_recorded(vendor: str, name: str) -> None:
    recording = replay.load(vendor, name)
    expect = recording["expect"]
    sent_at = datetime.fromisoformat(recording["sent_at"])
    asked_at = datetime.fromisoformat(recording["asked_at"]).timestamp()
    async with Providers.open(settings(OFFLINE)) as offline:
        provider = offline.provider(vendor)
        model = model_of(provider, recording)
        request = provider.create_request(model, full_inputs(model), CALLBACK_URL)
    clock = ClockOffset(asked_at - boot_seconds(), asked_at - boot_seconds())
    lookup = Lookup(request=request, sent_from=sent_at, sent_until=sent_at, clock=clock)
    async with (
        replay.replaying(recording, dict(request.body)) as wire,
        Providers.open(settings(wire.url), now=lambda: asked_at) as providers,
    ):
        provider = providers.provider(vendor)
        if expect.get("unavailable"):
            with pytest.raises(ProviderUnavailableError):
                await provider.find(lookup)
            return
        found = await provider.find(lookup)
    assert [match.provider_job_id for match in found.matches] == expect["matches"]
    assert (found.authoritative and not found.doubtful) == expect["authoritative"]


@pytest.mark.parametrize(("vendor", "name"), cases("cancel_"))
async def test_repeated_cancel_returns_the_same_result(vendor: str, name: str) -> None:
    recording = replay.load(vendor, name)
    async with replay.replaying(recording) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.provider(vendor)
        handle = handle_of(provider, model_of(provider, recording), recording["provider_job_id"])
        outcomes = [await provider.cancel(handle) for _ in range(2)]
    assert outcomes == [recording["expect"]["outcome"]] * 2


@pytest.mark.parametrize(("vendor", "name"), cases("check_"))
async def test_key_check_returns_the_providers_decision(vendor: str, name: str) -> None:
    recording = replay.load(vendor, name)
    expect = recording["expect"]
    own = {
        "fal": "11111111-2222-3333-4444-555555555555:own0123456789",
        "replicate": "r8_own0123456789012345678901234",
        "elevenlabs": "sk_own0123456789012345678901234",
    }
    async with replay.replaying(recording) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.keyed(vendor, own[vendor])
        if expect.get("unavailable"):
            with pytest.raises(ProviderUnavailableError):
                await provider.check_key()
        else:
            assert await provider.check_key() is expect["taken"]
        assert own[vendor] in wire.received[0].key


@pytest.mark.parametrize("vendor", CALLING_BACK)
@pytest.mark.parametrize("seconds", [0, 299, -299])
async def test_callback_of_the_provider_is_accepted(vendor: str, seconds: int) -> None:
    recording = replay.load(vendor, "callback_valid")
    at = recording["asked_at"] + seconds
    async with (
        replay.replaying(recording) as wire,
        Providers.open(settings(wire.url), now=lambda: at) as providers,
    ):
        for _ in range(2):  # the second verification uses the cached keys
            seen = await providers.provider(vendor).verify_callback(
                recording["headers"], recording["body"].encode()
            )
            assert seen.provider_job_id == recording["expect"]["provider_job_id"]
            assert seen.delivery_id == recording["expect"]["delivery_id"]


@pytest.mark.parametrize("vendor", CALLING_BACK)
@pytest.mark.parametrize("seconds", [301, -301])
async def test_old_callback_is_rejected_despite_a_valid_signature(
    vendor: str, seconds: int
) -> None:
    recording = replay.load(vendor, "callback_valid")
    async with Providers.open(
        settings(OFFLINE), now=lambda: recording["asked_at"] + seconds
    ) as providers:
        with pytest.raises(CallbackRefusedError):
            await providers.provider(vendor).verify_callback(
                recording["headers"], recording["body"].encode()
            )


def bad_callbacks(recording: replay.Recording) -> list[tuple[dict[str, str], bytes]]:
    headers: dict[str, str] = recording["headers"]
    body: bytes = recording["body"].encode()
    signature, timestamp = recording["signature_header"], recording["timestamp_header"]
    right = headers[signature]
    junk = (
        "",
        " ",
        "x",
        ",",
        "v1",
        "v1,",
        "v1,v1,v1",
        "v1,====",
        "v1,é",
        "ü" * 50,
        "zz" * 64,
        "00" * 64,
        "\udcff",
    )
    times = (
        "",
        "x",
        "nan",
        "inf",
        "-1",
        "1e9",
        "1760000000.5",
        "١٧٦٠٠٠٠٠٠٠",
        "9" * 400,
        "1760000301",
        "1759999699",
    )
    bad = [
        ({name: value for name, value in headers.items() if name != gone}, body) for gone in headers
    ]
    bad += [
        ({**headers, signature: value}, body)
        for value in (*junk, "1" * 5000, right[:-4], right[::-1])
    ]
    bad += [({**headers, timestamp: value}, body) for value in times]
    bad += [(dict.fromkeys(headers, ""), body), ({}, body)]
    bad += [
        (headers, other)
        for other in (b"", body[:-1], body + b" ", b"\xff\xfe", b"null", b"[" * 10_000)
    ]
    return bad


@pytest.mark.parametrize("vendor", CALLING_BACK)
async def test_invalid_callback_is_rejected(vendor: str) -> None:
    recording = replay.load(vendor, "callback_valid")
    async with (
        replay.replaying(recording) as wire,
        Providers.open(settings(wire.url), now=lambda: recording["asked_at"]) as providers,
    ):
        for headers, body in bad_callbacks(recording):
            with pytest.raises(CallbackRefusedError):
                await providers.provider(vendor).verify_callback(headers, body)
        # The keys are fetched once for all forgeries: a second fetch has no recorded exchange.
        assert len(wire.received) == 1


@pytest.mark.parametrize("vendor", CALLING_BACK)
@pytest.mark.parametrize(
    "body",
    ["", "<html>", "[]", '{"keys": []}', '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "é"}]}', '{"key": "whsec_"}',
     '{"key": "whsec_%"}'],
)  # fmt: skip
async def test_callback_without_keys_is_unverifiable(vendor: str, body: str) -> None:
    recording = replay.load(vendor, "callback_valid")
    async with (
        serving(answering(200, body.encode())) as wire,
        Providers.open(settings(wire.url), now=lambda: recording["asked_at"]) as providers,
    ):
        for _ in range(5):
            with pytest.raises(CallbackUnverifiableError):
                await providers.provider(vendor).verify_callback(
                    recording["headers"], recording["body"].encode()
                )
        assert len(wire.received) == 1


async def test_callback_of_a_vendor_without_callbacks_is_rejected() -> None:
    async with Providers.open(settings(OFFLINE)) as providers:
        for vendor in set(PROVIDER_NAMES) - set(CALLING_BACK):
            with pytest.raises(CallbackRefusedError):
                await providers.provider(vendor).verify_callback({}, b"{}")


MALFORMED = [
    b"", b"null", b"[]", b'"COMPLETED"', b'{"status": ', b"<html>ok</html>", b"{}", b'{"status": 7}', b"[" * 100_000,
    b'{"status": "' + b"x" * 10_000_000 + b'"}',
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("vendor", PROVIDER_NAMES)
async def test_malformed_read_is_unavailable(vendor: str, body: bytes) -> None:
    async with (
        serving(answering(200, body)) as wire,
        Providers.open(settings(wire.url)) as providers,
    ):
        provider = providers.provider(vendor)
        model = provider.models[0]
        sent_at = datetime.fromisoformat("2026-11-22T10:00:00Z")
        lookup = Lookup(
            request=provider.create_request(model, full_inputs(model), CALLBACK_URL),
            sent_from=sent_at,
            sent_until=sent_at,
            clock=ClockOffset(0, 0),
        )
        for call in (provider.status(handle_of(provider, model)), provider.find(lookup)):
            with pytest.raises(ProviderUnavailableError) as raised:
                await call
            assert len(str(raised.value)) < 60


@pytest.mark.parametrize("vendor", PROVIDER_NAMES)
async def test_unreachable_provider_is_unavailable(vendor: str) -> None:
    async with Providers.open(settings(OFFLINE)) as providers:
        provider = providers.provider(vendor)
        handle = handle_of(provider, provider.models[0])
        with pytest.raises(ProviderUnavailableError):
            await provider.status(handle)
        if not replay.NOT_APPLICABLE.get(vendor):
            with pytest.raises(ProviderUnavailableError):
                await provider.cancel(handle)


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_key_is_sent_only_to_the_providers_host(vendor: str) -> None:
    """A job whose handle has foreign addresses is read at the address built from its id."""
    async with serving(answering(500, {})) as evil, serving(answering(404, {})) as wire:
        urls = dict.fromkeys(
            ("get", "cancel", "status_url", "response_url", "cancel_url", "history"),
            f"{evil.url}/x",
        )
        async with Providers.open(settings(wire.url)) as providers:
            provider = providers.provider(vendor)
            handle = replace(handle_of(provider, provider.models[0]), urls=urls)
            with pytest.raises(ProviderUnavailableError):
                await provider.status(handle)
            await provider.cancel(handle)
        expected = 1 if replay.NOT_APPLICABLE.get(vendor) else 2  # without a cancel
        assert (evil.connections, len(wire.received)) == (0, expected)
        assert all(any(key in request.key for key in KEYS) for request in wire.received)
