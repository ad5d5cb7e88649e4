"""Which files may wait to be stored together with the next one."""

from dataclasses import replace
from typing import Any

import pytest

from core.domain.plans import Parameters, PlanType, StepKind, StepOutput
from core.ordering.planning.plan import VideoRequest, plan_video
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import plan_steps
from core.providers.registry import Providers
from tests.providers.wire import OFFLINE, settings
from tests.support.catalogues import read_models_again

FAL, REPLICATE = "fal-ai/flux/schnell", "black-forest-labs/flux-schnell"
DAY = 86_400


@pytest.mark.guarantee("G2")
@pytest.mark.parametrize(
    ("image_model", "changed", "waits"),
    [
        (FAL, {}, True),
        (REPLICATE, {}, False),
        (FAL, {"served_seconds": None}, False),
        (FAL, {"served_seconds": DAY - 1}, False),
        (FAL, {"served_seconds": DAY}, True),
        (FAL, {"deadline_seconds": 2 * DAY}, False),  # a plan of two days, a quarter of it is less
    ],
)
async def test_file_waits_only_where_it_is_served_long_enough(
    image_model: str, changed: dict[str, Any], waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Providers.open(settings(OFFLINE)) as providers:
        found = providers.find_model(image_model)
        assert found is not None
        provider, model = found
        models = [replace(each, **changed) if each == model else each for each in provider.models]
        monkeypatch.setattr(provider, "models", tuple(models))
        read_models_again(providers)
        planned = plan_video(providers, VideoRequest(prompt="A boat", image_model=image_model))
    image, video = planned.plan.steps
    assert (image.stored_with_next, video.stored_with_next) == (waits, False)


async def test_file_waits_for_no_step_with_a_long_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Providers.open(settings(OFFLINE)) as providers:
        for provider in {each for each, _ in providers.models(StepKind.VIDEO)}:
            models = [
                replace(each, deadline_seconds=2400) if each.kind is StepKind.VIDEO else each
                for each in provider.models
            ]
            monkeypatch.setattr(provider, "models", tuple(models))
        read_models_again(providers)
        planned = plan_video(providers, VideoRequest(prompt="A boat", image_model=FAL))
    assert not planned.plan.step("image").stored_with_next


@pytest.mark.parametrize("reusing", [(), ("image",), ("video",)])
async def test_file_of_a_reused_purchase_waits_for_no_step(reusing: tuple[str, ...]) -> None:
    seeded = {"prompt": "A boat", "seed": 1}
    steps = [
        StepRequest(
            name="image",
            kind=StepKind.IMAGE,
            model=FAL,
            reuse="image" in reusing,
            parameters=Parameters(values=seeded),
        ),
        StepRequest(
            name="video",
            kind=StepKind.VIDEO,
            reuse="video" in reusing,
            parameters=Parameters(values=seeded, sources={"image": StepOutput(step="image")}),
        ),
    ]
    async with Providers.open(settings(OFFLINE)) as providers:
        planned = plan_steps(providers, steps, plan_type=PlanType.PLAN, result_step="video")
    assert {step.name for step in planned.plan.steps if step.reuse} == set(reusing)
    assert planned.plan.step("image").stored_with_next is (not reusing)
