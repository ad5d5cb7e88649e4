"""The contract of every model whose create call answers with the speech itself: one recording each.

Request, success, price per unit, failure, moderation, look-up by list, cancel.
"""

import json
from datetime import datetime
from typing import Any

import pytest

from core.domain.failures import FailureCode
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import CancelOutcome
from core.domain.states import CostBasis, JobState
from core.platform.clock import ClockOffset, boot_seconds
from core.platform.temporal.policies import SEND_WITHIN_SECONDS
from core.providers.inputs import complete_inputs
from core.providers.models import Model, ModelInputs, inputs_from_json
from core.providers.port import CreateAnswer, CreateOutcome, CreateRequest, Lookup, Provider
from core.providers.pricing import find_price
from core.providers.registry import Providers
from core.providers.vendors.elevenlabs.catalogue import MODELS
from tests.providers.stages import JOB_ID, SENT_AT, load, path_of
from tests.providers.wire import Line, Script, answering, serving, settings

pytestmark = pytest.mark.guarantee("G3")

VENDOR = "elevenlabs"
VOICE = "JBFqnCBsd6RMkjVDRZzb"
NOW = datetime.fromisoformat("2026-11-22T10:06:00Z").timestamp()
CREATE = f"POST /elevenlabs/v1/text-to-speech/{VOICE}/with-timestamps?output_format=mp3_44100_128"
ERRORS = {
    "content_policy_violation": (403, FailureCode.CONTENT_MODERATED),
    "invalid_parameters": (400, FailureCode.PROVIDER_REJECTED_INPUT),
    "unsupported_model": (400, FailureCode.PROVIDER_MODEL_UNAVAILABLE),
}


def test_each_recording_belongs_to_a_model() -> None:
    recorded = {path_of(VENDOR, model) for model in MODELS}
    assert recorded == set(next(iter(recorded)).parent.glob("*.json"))


@pytest.mark.parametrize("model", MODELS, ids=[model.id for model in MODELS])
async def test_speech_model_keeps_the_contract(model: Model) -> None:
    recording = load(VENDOR, model)
    assert (recording["model"], bool(recording["source"])) == (model.id, True)
    stored = inputs_from_json(recording["inputs"])
    inputs = complete_inputs(model, stored.values, stored.media)
    async with (
        serving(_speaking(recording)) as wire,
        Providers.open(settings(wire.url), now=lambda: NOW) as providers,
    ):
        provider = providers.provider(VENDOR)
        request = provider.create_request(model, inputs, None)
        assert request.body == recording["body"]
        answer = await _sent(provider, request)
        assert (wire.received[0].method, wire.received[0].target) == tuple(CREATE.split())
        await _check_success(provider, model, inputs, answer, recording)
        await _check_lookup(provider, request)
        assert answer.handle is not None
        assert await provider.cancel(answer.handle) is CancelOutcome.TOO_LATE
    await _check_refusals(model, inputs)


def _speaking(recording: dict[str, Any]) -> Script:
    """Return a vendor that speaks once, and then lists it."""

    async def script(line: Line) -> None:
        while True:
            request = await line.read()
            if request.method == "POST":
                result = recording["result"]
                await line.answer(200, result["body"], {"request-id": JOB_ID, **result["headers"]})
            else:
                await line.answer(200, _history(recording))

    return script


def _history(recording: dict[str, Any]) -> dict[str, Any]:
    sent, charged = recording["body"], int(recording["result"]["headers"]["character-cost"])
    item = {
        "history_item_id": "h1",
        "request_id": JOB_ID,
        "voice_id": VOICE,
        "model_id": sent["model_id"],
        "text": sent["text"],
        "date_unix": int(datetime.fromisoformat(SENT_AT).timestamp()),
        "character_count_change_from": 100,
        "character_count_change_to": 100 + charged,
        "settings": sent["voice_settings"],
        "source": "TTS",
        "output_format": "mp3_44100_128",
    }
    return {"history": [item], "last_history_item_id": "h1", "has_more": False}


async def _sent(provider: Provider, request: CreateRequest) -> CreateAnswer:
    return await provider.submit(
        request, timeout_seconds=3.0, not_after=boot_seconds() + SEND_WITHIN_SECONDS
    )


async def _check_success(
    provider: Provider,
    model: Model,
    inputs: ModelInputs,
    answer: CreateAnswer,
    recording: dict[str, Any],
) -> None:
    """Check that the answer is read and that the bill is the quantity times the price."""
    assert answer.outcome is CreateOutcome.ACCEPTED
    assert answer.handle is not None
    assert answer.handle.provider_job_id == JOB_ID
    assert answer.delivery is not None
    delivered = await answer.delivery.read()
    report = delivered.report
    assert report.state is JobState.COMPLETED
    assert [output.kind for output in report.outputs] == [field.kind for field in model.outputs]
    files = dict(zip([output.kind for output in report.outputs], delivered.files, strict=True))
    assert files[MediaKind.AUDIO] == b"ID3"
    words = json.loads(files[MediaKind.TRANSCRIPT])["words"]
    assert [word["text"] for word in words] == recording["words"]
    price = find_price(model, inputs)
    assert (price.unit, price.unit_usd_text) == (recording["unit"], recording["unit_usd"])
    assert price.source
    cost, quote = provider.cost(model, inputs, report), provider.quote(model, inputs)
    assert (cost.nano_usd, cost.basis) == (recording["cost_nano_usd"], CostBasis.COMPUTED)
    assert quote.low_nano_usd == cost.nano_usd == quote.worst_nano_usd


async def _check_lookup(provider: Provider, request: CreateRequest) -> None:
    """Check that a send whose answer was lost is found in the history."""
    sent_at = datetime.fromisoformat(SENT_AT)
    clock = ClockOffset(NOW - boot_seconds(), NOW - boot_seconds())
    found = await provider.find(
        Lookup(request=request, sent_from=sent_at, sent_until=sent_at, clock=clock)
    )
    assert found.job_ids == [JOB_ID]


async def _check_refusals(model: Model, inputs: ModelInputs) -> None:
    """Check that refused requests and content count as not accepted, and so cost nothing."""
    for code, (status, failure) in ERRORS.items():
        body = {"detail": {"code": code, "message": "Not this."}}
        async with (
            serving(answering(status, body)) as wire,
            Providers.open(settings(wire.url)) as providers,
        ):
            provider = providers.provider(VENDOR)
            answer = await _sent(provider, provider.create_request(model, inputs, None))
        assert answer.outcome is CreateOutcome.NOT_ACCEPTED
        assert answer.failure is not None
        assert answer.failure.code is failure
