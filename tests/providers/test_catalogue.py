"""Properties of every model of every provider: requests, prices and secrecy of keys."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import SecretStr

from core.domain.messages.jobs import JobReport
from core.domain.plans import Scalar, StepKind
from core.domain.states import JobState
from core.providers.inputs import InputsError
from core.providers.models import Input, InputType, Model
from core.providers.port import (
    CreateOutcome,
    CreateRequest,
    Provider,
    ProviderUnavailableError,
)
from core.providers.registry import OWN_KEY_PROVIDERS, PROVIDER_NAMES, Providers, calls_back
from tests.providers.wire import (
    KEYS,
    OFFLINE,
    answering,
    full_inputs,
    handle_of,
    serving,
    settings,
    submit,
)
from tests.unit.test_layout import MAY_NAME_VENDORS

ROOT = Path(__file__).parents[2]
CALLBACK_URL = "https://us.example/callbacks/x/token"


async def every_model() -> list[tuple[Provider, Model]]:
    """Return the models of the vendors, without an operator's own."""
    async with Providers.open(settings(OFFLINE)) as providers:
        pairs = [pair for kind in StepKind for pair in providers.models(kind)]
        return [pair for pair in pairs if pair[0].name in OWN_KEY_PROVIDERS]


async def test_every_declared_parameter_changes_the_request_body() -> None:
    for provider, model in await every_model():
        bodies = [
            _sent(
                provider.create_request(model, full_inputs(model, with_image=image, **change), None)
            )
            for image, change in [(None, {}), *changes_of(model)]
        ]
        assert len(set(bodies)) == len(bodies), model.id


def _sent(request: CreateRequest) -> str:
    """Return the body and the address, which has the voice of some speech."""
    return f"{request.body!r} {request.url}"


def changes_of(model: Model) -> list[tuple[bool | None, dict[str, Scalar]]]:
    """Return each accepted value that is not the default, and whether it needs a picture."""
    changes: list[tuple[bool | None, dict[str, Scalar]]] = []
    for item in model.inputs:
        # A picture has its own shape, so that some models ignore another one.
        usual = full_inputs(model)
        image = False if item.unless == "image" else None
        changes += [
            (image, {item.name: value})
            for value in _other_values(item)
            if value != usual.values.get(item.name)
        ]
    return changes


def _other_values(item: Input) -> Sequence[Scalar]:
    if item.type.media is not None:
        return ("https://pictures.example/other",)
    if item.choices:
        return item.choices
    match item.type:
        case InputType.FLAG:
            return (True, False)
        case InputType.INTEGER:
            return (812,)
        case InputType.NUMBER:
            return tuple(bound for bound in (item.minimum, item.maximum) if bound is not None)
        case _:
            return ("another",)


async def test_defaults_are_sent_like_explicit_values() -> None:
    for provider, model in await every_model():
        asked = full_inputs(model)
        defaults = {item.name: item.default for item in model.inputs}
        unset: dict[str, Scalar | None] = {
            name: None for name, value in defaults.items() if value is not None
        }
        left_open = full_inputs(model, with_image=None, **unset)
        assert left_open == asked
        body = provider.create_request(model, left_open, None).body
        assert body == provider.create_request(model, asked, None).body


async def test_unsupported_inputs_are_rejected_all_at_once() -> None:
    for provider, model in await every_model():
        wrong: dict[str, Scalar | None] = {
            "duration_seconds": 31,
            "resolution": "8k",
            "aspect_ratio": "1:7",
            "unheard_of": "x",
        }
        wrong |= {item.name: None for item in model.inputs if item.required}
        inputs = full_inputs(model, with_image=None, **wrong)
        for call in (
            lambda: provider.create_request(model, inputs, None),  # noqa: B023 - called at once
            lambda: provider.quote(model, inputs),  # noqa: B023 - called at once
        ):
            with pytest.raises(InputsError, match=re.escape(model.id)) as raised:
                call()
            faults = {fault.name: fault for fault in raised.value.violations}
            assert faults.keys() == wrong.keys()
            for name in ("duration_seconds", "resolution", "aspect_ratio"):
                assert faults[name].allowed == model.choices(name)


async def test_callback_is_requested_only_with_an_address() -> None:
    for provider, model in await every_model():
        without = provider.create_request(model, full_inputs(model), None)
        with_one = provider.create_request(model, full_inputs(model), CALLBACK_URL)
        assert "hook" not in repr(without).lower()
        assert ("us.example" in repr(with_one)) == calls_back(provider.name)


async def test_request_survives_storage() -> None:
    """The intent is stored as JSON, which restores to the same request."""
    for provider, model in await every_model():
        request = provider.create_request(model, full_inputs(model), CALLBACK_URL)
        assert CreateRequest(**json.loads(json.dumps(asdict(request)))) == request


async def test_price_is_whole_nano_usd_and_covers_a_full_success() -> None:
    for provider, model in await every_model():
        assert model.prices
        assert all(
            price.source and re.fullmatch(r"20\d\d-\d\d-\d\d", price.read_on)
            for price in model.prices
        )
        for duration in model.choices("duration_seconds") or (None,):
            for resolution in model.choices("resolution") or (None,):
                inputs = full_inputs(model, duration_seconds=duration, resolution=resolution)
                quote = provider.quote(model, inputs)
                assert type(quote.worst_nano_usd) is int
                assert quote.low_nano_usd > 0
                cost = provider.cost(
                    model, inputs, JobReport(state=JobState.COMPLETED, charged=True)
                )
                assert cost.nano_usd == quote.worst_nano_usd


@pytest.mark.parametrize(
    ("model_id", "seconds", "resolution", "ratio", "usd_from", "usd_to"),
    [
        ("fal-ai/flux/schnell", None, None, "16:9", 0.003, 0.003),
        (
            "fal-ai/bytedance/seedance/v1/pro/image-to-video",
            5,
            "1080p",
            "16:9",
            0.605,
            0.625,
        ),  # "about $0.62"
        ("bytedance/seedance-1-pro", 5, "480p", "16:9", 0.15, 0.15),
        ("bytedance/seedance-1-pro", 5, "720p", "16:9", 0.30, 0.30),
        ("bytedance/seedance-1-pro", 12, "1080p", "16:9", 1.80, 1.80),
        ("black-forest-labs/flux-schnell", None, None, "16:9", 0.003, 0.003),
    ],
)
async def test_price_equals_the_published_price(
    model_id: str,
    seconds: int | None,
    resolution: str | None,
    ratio: str,
    usd_from: float,
    usd_to: float,
) -> None:
    async with Providers.open(settings(OFFLINE)) as providers:
        found = providers.find_model(model_id)
        assert found is not None
        provider, model = found
        inputs = full_inputs(
            model, duration_seconds=seconds, resolution=resolution, aspect_ratio=ratio
        )
        quote = provider.quote(model, inputs)
    assert (
        round(usd_from * 1e9)
        <= quote.expected_nano_usd
        <= quote.worst_nano_usd
        <= round(usd_to * 1e9)
    )


@pytest.mark.parametrize("vendor", OWN_KEY_PROVIDERS)
async def test_key_is_in_no_text(vendor: str) -> None:
    """Also if the provider repeats the key in its responses."""
    body = {"detail": f"key {' '.join(KEYS)}", "status": f"{KEYS[0]}", "error": f"{KEYS[1]}"}
    texts: list[str] = []
    for status in (200, 401, 422, 500):
        async with (
            serving(answering(status, body)) as wire,
            Providers.open(settings(wire.url)) as providers,
        ):
            provider = providers.provider(vendor)
            model = provider.models[0]
            request = provider.create_request(model, full_inputs(model), None)
            texts += [repr(provider), repr(providers), repr(request)]
            texts.append(repr(await submit(provider, request)))
            try:
                texts.append(repr(await provider.status(handle_of(provider, model))))
            except ProviderUnavailableError as error:
                texts += [repr(error), str(error), repr(error.__context__), repr(error.__cause__)]
    assert texts
    for key in KEYS:
        assert all(key not in text for text in texts)


async def test_short_key_is_not_repeated() -> None:
    """A key of an unknown form is recognised by its value."""
    async with serving(answering(422, {"detail": "bad ab:cd12 or r8_ef34 here"})) as wire:
        here = settings(
            wire.url, fal_key=SecretStr("ab:cd12"), replicate_api_token=SecretStr("r8_ef34")
        )
        async with Providers.open(here) as providers:
            for name, key in (("fal", "ab:cd12"), ("replicate", "r8_ef34")):
                provider = providers.provider(name)
                request = provider.create_request(
                    provider.models[0], full_inputs(provider.models[0]), None
                )
                text = repr(await submit(provider, request))
                assert "bad" in text
                assert key not in text


async def test_short_key_does_not_break_a_paid_response() -> None:
    """A short key may occur in an address of the response."""
    answer = {
        "id": "p1",
        "status": "starting",
        "urls": {"get": "http://sandbox.example/v1/predictions/p1"},
    }
    async with serving(answering(201, answer)) as wire:
        here = settings(wire.url, replicate_api_token=SecretStr("id"))
        async with Providers.open(here) as providers:
            provider = providers.provider("replicate")
            request = provider.create_request(
                provider.models[0], full_inputs(provider.models[0]), None
            )
            assert (await submit(provider, request)).outcome is CreateOutcome.ACCEPTED


@pytest.mark.parametrize("key", ["", "with space", "line\nbreak", "ümlaut"])
async def test_key_that_is_invalid_in_a_header_prevents_start(key: str) -> None:
    broken = settings(OFFLINE)
    for field in ("fal_key", "replicate_api_token"):
        with pytest.raises(ValueError, match="the key of") as raised:
            async with Providers.open(broken.model_copy(update={field: SecretStr(key)})):
                pass
        assert not key or key not in str(raised.value)


def test_import_and_open_make_no_connection() -> None:
    code = """
import asyncio, socket
def refuse(*_): raise AssertionError("connected")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from core.providers.registry import Providers
from tests.providers.wire import settings, submit
async def main():
    async with Providers.open(settings("http://127.0.0.1:9")) as providers:
        assert providers.names
asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


def test_vendors_are_named_only_in_their_own_modules() -> None:
    """Comments and docstrings are exempt."""
    vendor = re.compile(
        rf"(?<![a-z])({'|'.join(PROVIDER_NAMES)}|bytedance|black-forest-labs)(?![a-z])",
        re.IGNORECASE,
    )
    named = [
        f"{path.relative_to(ROOT)}: {text}"
        for folder in ("activities", "api", "cli", "core", "workflows")
        for path in (ROOT / folder).rglob("*.py")
        if not str(path.relative_to(ROOT)).startswith(MAY_NAME_VENDORS)
        for text in code_texts(path)
        if vendor.search(text)
    ]
    assert named == []


def code_texts(path: Path) -> list[str]:
    """Return names and string literals without docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts: list[str] = []
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                texts.append(text)
            case (
                ast.Name(id=name)
                | ast.Attribute(attr=name)
                | ast.arg(arg=name)
                | ast.alias(name=name)
            ):
                texts.append(name)
            case (
                ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
            ):
                texts.append(name)
            case ast.ImportFrom(module=str(name)):
                texts.append(name)
            case _:
                pass
    return texts
