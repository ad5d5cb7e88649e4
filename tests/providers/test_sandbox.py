"""The adapters against the sandbox over HTTP, with reported costs compared with its bill."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from core.domain.failures import FailureCode
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.plans import Scalar, StepKind
from core.domain.states import JobState
from core.platform.clock import ClockOffset, boot_seconds
from core.providers.models import Model, ModelInputs
from core.providers.port import (
    CallbackRefusedError,
    CreateAnswer,
    CreateOutcome,
    CreateRequest,
    Lookup,
    Provider,
)
from core.providers.registry import Providers
from tests.providers.wire import full_inputs, settings, submit
from tests.sandbox.process import Receiver, Sandbox

pytestmark = pytest.mark.guarantee("G1", "G3")

FAL_IMAGE = "fal-ai/flux/schnell"
FAL_VIDEO = "fal-ai/bytedance/seedance/v1/pro/image-to-video"
REPLICATE_IMAGE = "black-forest-labs/flux-schnell"
REPLICATE_VIDEO = "bytedance/seedance-1-pro"
MODELS = (FAL_IMAGE, FAL_VIDEO, REPLICATE_IMAGE, REPLICATE_VIDEO)


def found(catalogue: Providers, model_id: str) -> tuple[Provider, Model]:
    pair = catalogue.find_model(model_id)
    assert pair is not None
    return pair


async def picture(catalogue: Providers) -> str:
    """Return the address of a picture from the sandbox."""
    provider, model = found(catalogue, FAL_IMAGE)
    report = await ended(provider, await submitted(provider, model, full_inputs(model)))
    return report.outputs[0].url


async def inputs_for(catalogue: Providers, model: Model, **changes: Scalar | None) -> ModelInputs:
    if model.takes("image"):
        changes["image"] = await picture(catalogue)
    if model.takes("end_image"):
        changes["end_image"] = None
    return full_inputs(model, with_image=None, **changes)


async def submitted(
    provider: Provider, model: Model, inputs: ModelInputs, url: str | None = None
) -> ProviderHandle:
    answer = await submit(provider, provider.create_request(model, inputs, url), timeout_seconds=10)
    assert answer.handle is not None, answer
    return answer.handle


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    await asyncio.to_thread(Sandbox.wait_until, condition, seconds)


async def ended(provider: Provider, handle: ProviderHandle) -> JobReport:
    async with asyncio.timeout(20):
        while True:
            report = await provider.status(handle)
            if report.state.ended:
                return report
            await asyncio.sleep(0.05)


def billed(sandbox: Sandbox, handle: ProviderHandle) -> int:
    lines: list[dict[str, Any]] = sandbox.bill()["lines"]
    line = next(line for line in lines if line["provider_job_id"] == handle.provider_job_id)
    assert line["state"] != "open"
    amount: int = line["billed_nano_usd"]
    return amount


def creates(sandbox: Sandbox) -> int:
    total: int = sandbox.client.get("/__control/requests").json()["total"]
    return total


@pytest.mark.parametrize("model_id", MODELS)
async def test_job_cost_equals_the_bill(
    sandbox: Sandbox, catalogue: Providers, model_id: str
) -> None:
    provider, model = found(catalogue, model_id)
    inputs = await inputs_for(catalogue, model)
    handle = await submitted(provider, model, inputs)
    report = await ended(provider, handle)
    assert report.state is JobState.COMPLETED
    assert [output.kind for output in report.outputs] == [model.outputs[0].kind]
    assert sandbox.client.get(report.outputs[0].url).status_code == 200
    cost = provider.cost(model, inputs, report)
    assert cost.nano_usd == billed(sandbox, handle)
    quote = provider.quote(model, inputs)
    assert quote.low_nano_usd <= cost.nano_usd <= quote.worst_nano_usd


@pytest.mark.parametrize("model_id", MODELS)
async def test_hold_covers_the_bill_in_every_shape(
    sandbox: Sandbox, catalogue: Providers, model_id: str
) -> None:
    """The sandbox's price at the accept is at most the hold, for every ratio and resolution."""
    sandbox.set(video_seconds=0.0, image_seconds=0.0)
    provider, model = found(catalogue, model_id)
    base = await inputs_for(catalogue, model)
    for ratio in model.choices("aspect_ratio") or (None,):
        for resolution in model.choices("resolution") or (None,):
            given = {"aspect_ratio": ratio, "resolution": resolution}
            inputs = replace(
                base,
                values={
                    **base.values,
                    **{name: value for name, value in given.items() if value is not None},
                },
            )
            handle = await submitted(provider, model, inputs)
            line = next(
                line
                for line in sandbox.bill()["lines"]
                if line["provider_job_id"] == handle.provider_job_id
            )
            assert line["price_nano_usd"] <= provider.quote(model, inputs).worst_nano_usd, (
                ratio,
                resolution,
            )


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize(
    ("fault", "codes"),
    [
        ("moderated", {FailureCode.CONTENT_MODERATED}),
        ("empty_output", {FailureCode.PROVIDER_EMPTY_OUTPUT}),
        ("fail_after", {FailureCode.PROVIDER_FAILED}),
    ],
)
async def test_failed_job_cost_equals_the_bill(
    sandbox: Sandbox, catalogue: Providers, model_id: str, fault: str, codes: set[FailureCode]
) -> None:
    provider, model = found(catalogue, model_id)
    inputs = await inputs_for(catalogue, model)
    fault_id = sandbox.fault(fault)
    handle = await submitted(provider, model, inputs)
    report = await ended(provider, handle)
    assert sandbox.fired(fault_id) == 1
    assert report.state is JobState.FAILED
    assert report.failure is not None
    assert report.failure.code in codes
    cost = provider.cost(model, inputs, report)
    assert cost.nano_usd == billed(sandbox, handle)


@pytest.mark.parametrize("model_id", [FAL_IMAGE, REPLICATE_VIDEO])
@pytest.mark.parametrize(
    "fault",
    ["drop_after_accept", "answer_502_after_accept", "malformed_json", "html_answer", "huge_body"],
)
async def test_lost_answer_is_found_and_never_sent_again(
    sandbox: Sandbox, catalogue: Providers, model_id: str, fault: str
) -> None:
    provider, model = found(catalogue, model_id)
    inputs = await inputs_for(catalogue, model)
    sent_before = creates(sandbox)
    fault_id = sandbox.fault(fault)
    answer, lookup = await sent(provider, model, inputs)
    assert (answer.outcome, sandbox.fired(fault_id)) == (CreateOutcome.UNKNOWN, 1)
    match = await looked_up(provider, lookup)
    report = await ended(provider, match)
    assert report.state is JobState.COMPLETED
    assert provider.cost(model, inputs, report).nano_usd == billed(sandbox, match)
    assert creates(sandbox) == sent_before + 1


async def sent(
    provider: Provider, model: Model, inputs: ModelInputs, *, timeout_seconds: float = 5
) -> tuple[CreateAnswer, Lookup]:
    request: CreateRequest = provider.create_request(model, inputs, None)
    before, at = boot_seconds(), datetime.now(UTC)
    clock = ClockOffset.measured(at, before=before, after=boot_seconds())
    return await submit(provider, request, timeout_seconds=timeout_seconds), Lookup(
        request=request, sent_from=at, sent_until=at, clock=clock
    )


async def looked_up(provider: Provider, lookup: Lookup) -> ProviderHandle:
    """Look up until the job appears: fal lists a job only once it has ended."""
    async with asyncio.timeout(15):
        while True:
            answer = await provider.find(lookup)
            if answer.matches:
                (match,) = answer.matches
                return match
            await asyncio.sleep(0.1)


async def test_late_answer_is_unknown(sandbox: Sandbox, catalogue: Providers) -> None:
    provider, model = found(catalogue, REPLICATE_VIDEO)
    sandbox.fault("answer_late", params={"seconds": 3})
    answer, lookup = await sent(
        provider, model, full_inputs(model, with_image=False), timeout_seconds=0.5
    )
    assert answer.outcome is CreateOutcome.UNKNOWN
    assert (await looked_up(provider, lookup)).provider == "replicate"


@pytest.mark.parametrize("model_id", [FAL_IMAGE, REPLICATE_VIDEO])
async def test_list_without_the_send_is_authoritative_and_shows_the_clock(
    sandbox: Sandbox, catalogue: Providers, model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.providers.lists.reader.FRESH_SECONDS", 0.0)
    provider, model = found(catalogue, model_id)
    sandbox.fault("drop_before_accept")
    answer, lookup = await sent(provider, model, full_inputs(model, with_image=False))
    assert answer.outcome is CreateOutcome.UNKNOWN
    look = await provider.find(lookup)
    assert (look.matches, look.authoritative) == ((), True)
    assert look.clock is not None
    assert look.clock.is_within(5, lookup.clock)
    sandbox.set(clock_behind_seconds=60)
    look = await provider.find(lookup)
    assert look.clock is not None
    assert not look.clock.is_within(50, lookup.clock)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 415, 422, 429])
@pytest.mark.parametrize("model_id", [FAL_IMAGE, REPLICATE_VIDEO])
async def test_refusal_is_certain_and_free(
    sandbox: Sandbox, catalogue: Providers, model_id: str, status: int
) -> None:
    provider, model = found(catalogue, model_id)
    if status == 429:
        sandbox.fault("refuse_429", params={"retry_after": "7"})
    else:
        sandbox.fault("refuse", params={"status": status})
    answer, _ = await sent(provider, model, full_inputs(model, with_image=False))
    assert (answer.outcome, answer.status_code) == (CreateOutcome.NOT_ACCEPTED, status)
    assert answer.retry_after_seconds == (7 if status == 429 else 0)
    assert sandbox.bill()["lines"] == []


async def test_unknown_status_is_still_running(sandbox: Sandbox, catalogue: Providers) -> None:
    for model_id in (FAL_IMAGE, REPLICATE_VIDEO):
        provider, model = found(catalogue, model_id)
        handle = await submitted(provider, model, full_inputs(model, with_image=False))
        fault_id = sandbox.fault("unknown_status")
        assert (await provider.status(handle)).state is JobState.SUBMITTED
        assert sandbox.fired(fault_id) == 1
        assert (await ended(provider, handle)).state is JobState.COMPLETED


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("queue_seconds", [0.0, 5.0])
async def test_cancelled_job_cost_equals_the_bill(
    sandbox: Sandbox, catalogue: Providers, model_id: str, queue_seconds: float
) -> None:
    provider, model = found(catalogue, model_id)
    inputs = await inputs_for(catalogue, model)
    sandbox.set(queue_seconds=queue_seconds, image_seconds=20, video_seconds=20)
    handle = await submitted(provider, model, inputs)
    if queue_seconds == 0:
        await until(
            lambda: any(
                job["id"] == handle.provider_job_id and job["state"] == "running"
                for job in sandbox.jobs()
            )
        )
    first = await provider.cancel(handle)
    assert first in (CancelOutcome.CANCELLED, CancelOutcome.REQUESTED)
    report = await ended(provider, handle)
    assert report.state is JobState.CANCELLED
    assert provider.cost(model, inputs, report).nano_usd == billed(sandbox, handle)
    assert await provider.cancel(handle) in (CancelOutcome.CANCELLED, CancelOutcome.TOO_LATE)


async def test_lost_race_of_a_cancel_is_a_paid_success(
    sandbox: Sandbox, catalogue: Providers
) -> None:
    provider, model = found(catalogue, FAL_IMAGE)
    sandbox.fault("cancel_loses")
    handle = await submitted(provider, model, full_inputs(model))
    assert await provider.cancel(handle) is CancelOutcome.REQUESTED
    report = await ended(provider, handle)
    assert report.state is JobState.COMPLETED
    assert provider.cost(model, full_inputs(model), report).nano_usd == billed(sandbox, handle) > 0


async def test_removed_data_is_an_expired_output_that_was_paid(
    sandbox: Sandbox, catalogue: Providers
) -> None:
    provider, model = found(catalogue, REPLICATE_VIDEO)
    inputs = full_inputs(model, with_image=False)
    handle = await submitted(provider, model, inputs)
    assert (await ended(provider, handle)).state is JobState.COMPLETED
    sandbox.set(data_life_seconds=0.0)
    report = await provider.status(handle)
    assert (report.state, report.failure and report.failure.code) == (
        JobState.FAILED,
        FailureCode.OUTPUT_EXPIRED,
    )
    assert provider.cost(model, inputs, report).nano_usd == billed(sandbox, handle)


@pytest.mark.parametrize("model_id", [FAL_IMAGE, REPLICATE_VIDEO])
async def test_callback_is_verified_and_a_forged_one_refused(
    sandbox: Sandbox, catalogue: Providers, receiver: Receiver, model_id: str
) -> None:
    provider, model = found(catalogue, model_id)
    inputs = full_inputs(model, with_image=False)
    handle = await submitted(provider, model, inputs, f"{receiver.url}/callbacks/x/token-1")
    await until(lambda: len(receiver.received) > 0)
    real = receiver.received[0]
    assert real.path == "/callbacks/x/token-1"
    callback = await provider.verify_callback(real.headers, real.body)
    assert callback.provider_job_id == handle.provider_job_id
    assert (await provider.status(handle)).state is JobState.COMPLETED

    fault_id = sandbox.fault("callback_forged")
    await submitted(provider, model, inputs, f"{receiver.url}/callbacks/x/token-2")
    await until(lambda: sandbox.fired(fault_id) == 1 and len(receiver.received) > 1)
    with pytest.raises(CallbackRefusedError):
        await provider.verify_callback(receiver.received[1].headers, receiver.received[1].body)


async def test_default_models_are_the_promised_ones(catalogue: Providers) -> None:
    defaults = {kind: catalogue.default_model(kind) for kind in StepKind}
    promised = {kind: pair[1].id for kind, pair in defaults.items() if pair}
    assert promised.keys() == set(StepKind)
    assert promised[StepKind.IMAGE] == FAL_IMAGE
    assert promised[StepKind.VIDEO] == REPLICATE_VIDEO
    assert [model.id for _, model in catalogue.models(StepKind.VIDEO)][:2] == [
        REPLICATE_VIDEO,
        FAL_VIDEO,
    ]


async def test_provider_without_a_key_is_not_offered(sandbox: Sandbox) -> None:
    without = settings(
        sandbox.url, replicate_api_token=None, elevenlabs_api_key=None, cog_models_file=None
    )
    async with Providers.open(without) as catalogue:
        assert catalogue.names == ("fal",)
        assert catalogue.find_model(REPLICATE_VIDEO) is None
        default = catalogue.default_model(StepKind.VIDEO)
        assert default is not None
        assert default[1].id == FAL_VIDEO
