"""The contract of every entry of the catalogues: one recording per model, and no code.

Request, success, failure, moderation, price per unit, look-up by list, cancel.
"""

import base64
import json
from datetime import datetime
from typing import Any

import pytest

from core.domain.failures import FailureCode
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import CancelOutcome, ProviderHandle
from core.domain.plans import StepKind
from core.domain.states import CostBasis, JobState
from core.platform.clock import ClockOffset, boot_seconds
from core.platform.settings.providers import ProviderSettings
from core.providers.inputs import complete_inputs
from core.providers.models import Model, ModelInputs, inputs_from_json
from core.providers.port import CreateOutcome, CreateRequest, Lookup, Provider
from core.providers.pricing import amount, billed_quantity, count, find_price
from core.providers.registry import Providers
from core.providers.vendors.fal.catalogue.models import MODELS as FAL_MODELS
from core.providers.vendors.replicate.catalogue.models import MODELS as REPLICATE_MODELS
from core.providers.volumes import volumes
from tests.providers.stages import JOB_ID, SENT_AT, Stage, load, path_of, staged
from tests.providers.wire import settings, submit

pytestmark = pytest.mark.guarantee("G3")

CATALOGUES = {"fal": FAL_MODELS, "replicate": REPLICATE_MODELS}
ENTRIES = [(vendor, model) for vendor, models in CATALOGUES.items() for model in models]
CALLBACK_URL = "https://us.example/callbacks/x/token"
NOW = datetime.fromisoformat("2026-11-22T10:01:00Z").timestamp()


def test_there_are_models_of_every_kind() -> None:
    assert len(ENTRIES) >= 25
    assert {model.kind for _, model in ENTRIES} == set(StepKind)
    assert len({(vendor, model.id) for vendor, model in ENTRIES}) == len(ENTRIES)


def test_each_recording_belongs_to_a_model() -> None:
    for vendor, models in CATALOGUES.items():
        recorded = {path_of(vendor, model) for model in models}
        assert recorded == set(next(iter(recorded)).parent.glob("*.json"))


@pytest.mark.parametrize(("vendor", "model"), ENTRIES, ids=[model.id for _, model in ENTRIES])
async def test_model_keeps_the_contract(vendor: str, model: Model) -> None:
    recording = load(vendor, model)
    assert (recording["model"], bool(recording["source"])) == (model.id, True)
    stored = inputs_from_json(recording["inputs"])
    inputs = complete_inputs(model, stored.values, stored.media)
    async with (
        staged(vendor, model, recording["result"]) as stage,
        Providers.open(_settings(stage), now=lambda: NOW) as providers,
    ):
        provider = providers.provider(vendor)
        request = provider.create_request(model, inputs, CALLBACK_URL)
        body: Any = request.body["input"] if vendor == "replicate" else request.body
        assert body == recording["body"]
        answer = await submit(provider, request)
        assert answer.outcome is CreateOutcome.ACCEPTED
        assert answer.handle is not None
        assert answer.handle.provider_job_id == JOB_ID
        await _check_success(stage, provider, model, inputs, answer.handle, recording)
        await _check_failures(stage, provider, model, inputs, answer.handle)
        await _check_lookup(provider, request)
        expected = CancelOutcome.REQUESTED if vendor == "fal" else CancelOutcome.CANCELLED
        assert await provider.cancel(answer.handle) is expected


def _settings(stage: Stage) -> ProviderSettings:
    return settings(stage.url)


async def _check_success(
    stage: Stage,
    provider: Provider,
    model: Model,
    inputs: ModelInputs,
    handle: ProviderHandle,
    recording: dict[str, Any],
) -> None:
    """Check that the result is read and that the bill is the quantity times the price."""
    report = await provider.status(handle)
    assert report.state is JobState.COMPLETED
    assert [output.kind for output in report.outputs] == [
        field.kind for field in model.outputs[: len(report.outputs)]
    ]
    for output, expected in zip(report.outputs, recording["outputs"], strict=True):
        assert _content(output.url, output.kind) == expected
    price = find_price(model, inputs)
    assert (price.unit, price.unit_usd_text) == (recording["unit"], recording["unit_usd"])
    assert price.source
    cost = provider.cost(model, inputs, report)
    assert cost.nano_usd == recording["cost_nano_usd"]
    quote = provider.quote(model, inputs)
    assert quote.low_nano_usd <= cost.nano_usd <= quote.worst_nano_usd
    if (units := billed_quantity(report.billed_units)) is not None:
        assert cost.nano_usd == amount(units, price)
        assert cost.basis is CostBasis.REPORTED
    stage.ending = "unbilled"
    unbilled = provider.cost(model, inputs, await provider.status(handle))
    possible = volumes(model, inputs)
    assert unbilled.nano_usd == quote.worst_nano_usd
    assert unbilled.nano_usd == amount(count(price.unit, possible.most), price)
    known = possible.least == possible.most
    assert unbilled.basis is (CostBasis.COMPUTED if known else CostBasis.ASSUMED)


def _content(url: str, kind: MediaKind) -> Any:
    """Return an output as a recording names it: its address, or the transcript."""
    if kind is not MediaKind.TRANSCRIPT:
        return url
    return json.loads(base64.b64decode(url.removeprefix("data:application/json;base64,")))


async def _check_failures(
    stage: Stage, provider: Provider, model: Model, inputs: ModelInputs, handle: ProviderHandle
) -> None:
    """Check that a failed and a moderated job end as such, at no cost."""
    for ending, code in (
        ("failed", FailureCode.PROVIDER_FAILED),
        ("moderated", FailureCode.CONTENT_MODERATED),
    ):
        stage.ending = ending
        report = await provider.status(handle)
        assert report.state is JobState.FAILED
        assert report.failure is not None
        assert report.failure.code is code
        assert provider.cost(model, inputs, report).nano_usd == 0


async def _check_lookup(provider: Provider, request: CreateRequest) -> None:
    """Check that a send whose answer was lost is found in the provider's list."""
    sent_at = datetime.fromisoformat(SENT_AT)
    clock = ClockOffset(NOW - boot_seconds(), NOW - boot_seconds())
    answer = await provider.find(
        Lookup(request=request, sent_from=sent_at, sent_until=sent_at, clock=clock)
    )
    assert answer.job_ids == [JOB_ID]
