"""Adapters with a user's own key send it only to the provider; without a key they send nothing."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook

from core.domain.failures import FailureCode
from core.domain.messages.jobs import ProviderHandle
from core.platform.clock import ClockOffset
from core.providers.port import (
    CallbackRefusedError,
    CreateOutcome,
    Lookup,
    Provider,
    ProviderUnavailableError,
)
from core.providers.registry import OWN_KEY_PROVIDERS, Providers
from tests.providers.wire import (
    WEBHOOK_SECRET,
    answering,
    full_inputs,
    handle_of,
    serving,
    settings,
    submit,
)

pytestmark = pytest.mark.guarantee("G1", "G6")

OWN = "own-key-0123456789abcdef"
KEY_SETTINGS: Mapping[str, str] = {
    "fal": "fal_key",
    "replicate": "replicate_api_token",
    "elevenlabs": "elevenlabs_api_key",
}
LONG_AGO = datetime(2026, 1, 2, tzinfo=UTC)
SCHEMES: Mapping[str, str] = {"fal": "Key ", "replicate": "Bearer ", "elevenlabs": ""}


def signed(secret: str) -> tuple[dict[str, str], bytes]:
    now, text = datetime.now(UTC), json.dumps({"id": "p1", "status": "succeeded"})
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", now, text),
    }, text.encode()


async def ask_everything(provider: Provider, handle: ProviderHandle) -> None:
    """Make every call of an adapter and ignore the results."""
    model = provider.models[0]
    request = provider.create_request(model, full_inputs(model), None)
    await submit(provider, request)
    for asked in (
        provider.status(handle),
        provider.cancel(handle),
        provider.find(
            Lookup(
                request=request, sent_from=LONG_AGO, sent_until=LONG_AGO, clock=ClockOffset(0, 0)
            )
        ),
        provider.check_key(),
    ):
        try:
            await asked
        except ProviderUnavailableError:
            continue


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_every_call_uses_the_own_key_only(vendor: str) -> None:
    async with serving(answering(200, {})) as wire, Providers.open(settings(wire.url)) as providers:
        provider = providers.keyed(vendor, OWN)
        await ask_everything(provider, handle_of(provider, provider.models[0]))
        used = {request.key for request in wire.received}
        assert len(wire.received) >= (4 if vendor == "elevenlabs" else 5)  # it has no cancel
    assert used == {f"{SCHEMES[vendor]}{OWN}"}


@pytest.mark.parametrize("vendor", ["fal", "replicate"])
async def test_own_key_is_not_sent_to_addresses_in_responses(vendor: str) -> None:
    """Neither to a file's address, nor to a job's, nor to the next page of a list."""
    async with serving(answering(200, {"status": "IN_PROGRESS"})) as other:
        names = ("status_url", "response_url", "cancel_url", "get", "cancel")
        body = {
            "id": "p1",
            "request_id": "p1",
            "status": {"fal": "COMPLETED", "replicate": "succeeded"}[vendor],
            "model": "x/y",
            "urls": {name: f"{other.url}/{name}" for name in names},
            **{name: f"{other.url}/{name}" for name in names[:3]},
            "images": [{"url": f"{other.url}/picture.jpg"}],
            "output": f"{other.url}/video.mp4",
            "results": [],
            "next": f"{other.url}/next",
        }
        async with (
            serving(answering(200, body)) as wire,
            Providers.open(settings(wire.url)) as providers,
        ):
            provider = providers.keyed(vendor, OWN)
            handle = handle_of(provider, provider.models[0])
            await ask_everything(provider, handle)
            await ask_everything(
                provider, replace(handle, urls={name: f"{other.url}/{name}" for name in names})
            )
            report = await provider.status(handle)
        assert [output.url for output in report.outputs]
        assert all(output.url.startswith(other.url) for output in report.outputs)
        assert wire.received
        assert other.connections == 0


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_malformed_key_is_rejected_without_being_shown(vendor: str) -> None:
    async with Providers.open(settings("http://127.0.0.1:9")) as providers:
        with pytest.raises(ValueError, match="the key of") as raised:
            providers.keyed(vendor, "with space in it")
        with pytest.raises(KeyError):
            providers.keyed("nobody", OWN)
    assert "with space" not in str(raised.value)


async def test_callbacks_of_a_users_account_use_the_accounts_secret() -> None:
    """The secret is fetched with the user's key."""
    theirs = {"key": "whsec_" + "B" * 32}
    async with serving(answering(200, theirs)) as wire:
        here = settings(wire.url, replicate_webhook_secret=SecretStr(WEBHOOK_SECRET))
        async with Providers.open(here) as providers:
            headers, body = signed(WEBHOOK_SECRET)
            assert (
                await providers.provider("replicate").verify_callback(headers, body)
            ).provider_job_id == "p1"
            assert wire.received == []
            with pytest.raises(CallbackRefusedError):
                await providers.keyed("replicate", OWN).verify_callback(headers, body)
            headers, body = signed(theirs["key"])
            assert await providers.keyed("replicate", OWN).verify_callback(headers, body)
            assert {request.headers["authorization"] for request in wire.received} == {
                f"Bearer {OWN}"
            }


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_provider_without_a_key_exists_and_sends_nothing(vendor: str) -> None:
    async with serving(answering(200, {})) as wire:
        keyless = settings(wire.url, **{KEY_SETTINGS[vendor]: None})
        async with Providers.open(keyless) as providers:
            assert vendor not in providers.names
            assert vendor in providers.known_names
            assert not providers.all_on_offer
            provider = providers.known(vendor)
            assert provider is not None
            model = provider.models[0]
            assert providers.find_model(model.id) is None
            mine = providers.for_user({vendor}).find_model(model.id)
            assert providers.for_user([vendor]) is providers.for_user({vendor}), "built once"
            assert providers.for_user(()) is providers
            assert mine is not None
            assert mine[0].quote(model, full_inputs(model)).worst_nano_usd > 0
            answer = await submit(
                provider, provider.create_request(model, full_inputs(model), None)
            )
            assert answer.outcome is CreateOutcome.NOT_ACCEPTED
            assert answer.failure is not None
            assert answer.failure.code is FailureCode.INTERNAL_ERROR
            with pytest.raises(KeyError):
                providers.provider(vendor)
            own = providers.keyed(vendor, OWN)
            await submit(own, own.create_request(model, full_inputs(model), None))
        assert [request.key for request in wire.received] == [f"{SCHEMES[vendor]}{OWN}"]
