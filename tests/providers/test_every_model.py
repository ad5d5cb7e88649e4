"""Every model of the catalogue, bought once from the sandbox over HTTP."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from core.domain.media.containers.facts import MediaFacts
from core.domain.plans import StepKind
from core.domain.states import JobState
from core.providers.models import InputType, MediaInput, Model
from core.providers.port import Provider
from core.providers.registry import Providers
from tests.providers.test_sandbox import ended, submitted
from tests.providers.wire import full_inputs
from tests.sandbox.kinds.calls import clip, picture, voice
from tests.sandbox.process import Sandbox

pytestmark = pytest.mark.guarantee("G3")
VENDORS = ("fal", "replicate")
Files = dict[InputType, MediaInput]


def files(sandbox: Sandbox) -> Files:
    """Return a file of each kind that the sandbox made, with its facts."""
    frame = MediaFacts(width=64, height=36)
    return {
        InputType.IMAGE: MediaInput(url=picture(sandbox), facts=frame),
        InputType.VIDEO: MediaInput(
            url=clip(sandbox), facts=replace(frame, duration_seconds=4.0, frame_rate=24)
        ),
        InputType.AUDIO: MediaInput(url=voice(sandbox), facts=MediaFacts(duration_seconds=3.5)),
    }


@dataclass(frozen=True, slots=True)
class Purchase:
    """A completed job, its cost, and how many files its input named."""

    model: str
    job_id: str
    cost: int
    files: int


async def bought(provider: Provider, model: Model, given: Files) -> Purchase:
    inputs = full_inputs(model)
    media = {item.name: given[item.type] for item in model.inputs if item.name in inputs.media}
    inputs = replace(inputs, media=media)
    handle = await submitted(provider, model, inputs)
    report = await ended(provider, handle)
    assert report.state is JobState.COMPLETED, (model.id, report.failure)
    assert report.outputs, model.id
    cost, quote = provider.cost(model, inputs, report).nano_usd, provider.quote(model, inputs)
    assert quote.low_nano_usd <= cost <= quote.worst_nano_usd, (model.id, quote)
    return Purchase(model.id, handle.provider_job_id, cost, len(media))


async def test_every_model_delivers_at_the_price_of_the_bill(
    sandbox: Sandbox, catalogue: Providers
) -> None:
    sandbox.set(image_seconds=0, video_seconds=0, queue_seconds=0)
    given = files(sandbox)
    models = [
        pair for kind in StepKind for pair in catalogue.models(kind) if pair[0].name in VENDORS
    ]
    purchases = await asyncio.gather(*(bought(*pair, given) for pair in models))
    bill = {line["provider_job_id"]: line["billed_nano_usd"] for line in sandbox.bill()["lines"]}
    fetched = {job["id"]: len(job["fetched"]) for job in sandbox.jobs()}
    for purchase in purchases:
        assert bill[purchase.job_id] == purchase.cost, purchase
        assert fetched[purchase.job_id] == purchase.files, purchase
