"""Planning of approval steps and of the candidates that they choose from."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

import pytest

from core.domain.media.content import MediaKind
from core.domain.plans import (
    DecisionKind,
    OnFailure,
    Parameters,
    PlanType,
    Scalar,
    Source,
    StepKind,
    StepOutput,
)
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError
from core.ordering.planning.nodes.approvals import EXPIRES_AFTER, LAST_LOOK_SECONDS
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import OutputRequest, PricedPlan, plan_steps
from core.providers.registry import Providers
from core.store.approvals.looks import (
    PARALLEL_SECONDS,
    REST_EXPECTED,
    REST_LOW,
    REST_SECONDS,
)
from tests.providers.wire import OFFLINE, settings

FAL_VIDEO: Final = "fal-ai/bytedance/seedance/v1/pro/image-to-video"
DAY: Final = 86_400


@pytest.fixture
async def catalogue() -> AsyncGenerator[Providers]:
    async with Providers.open(settings(OFFLINE)) as providers:
        yield providers


def picture(name: str, *, count: int = 1, **values: Scalar) -> StepRequest:
    return StepRequest(
        name=name,
        kind=StepKind.IMAGE,
        parameters=Parameters(values={"prompt": "A boat", **values}),
        count=count,
        path=f"{name}/",
        field_prefix=f"{name}/params/",
        model_field=f"{name}/model",
    )


def clip(name: str, image: str) -> StepRequest:
    sources: dict[str, Source] = {"image": StepOutput(step=image)}
    return replace(
        picture(name),
        kind=StepKind.VIDEO,
        parameters=Parameters(values={"prompt": "It sails"}, sources=sources),
    )


def approval(name: str, *options: str, needs: tuple[str, ...] = ()) -> StepRequest:
    return StepRequest(
        name=name,
        kind=DecisionKind.APPROVAL,
        parameters=Parameters(
            values={EXPIRES_AFTER: DAY},
            sources={
                f"options/{number}": StepOutput(step=option)
                for number, option in enumerate(options)
            },
        ),
        needs=needs,
        path=f"{name}/",
        field_prefix=f"{name}/params/",
    )


def plan(catalogue: Providers, *requests: StepRequest, result: str | None = None) -> PricedPlan:
    """Return a plan whose last step is an output. result: by default, the last step as well."""
    last = requests[-1].name
    return plan_steps(
        catalogue,
        requests,
        plan_type=PlanType.PLAN,
        result_step=result or last,
        outputs=(OutputRequest(name="last", step=last, field="outputs/last"),),
    )


def faults(catalogue: Providers, *requests: StepRequest) -> dict[str, FieldError]:
    with pytest.raises(InvalidFieldsError) as raised:
        plan(catalogue, *requests)
    errors = raised.value.errors
    assert len(errors) == len({error.field for error in errors}), "each is named once"
    return {error.field: error for error in errors}


def test_approval_makes_the_file_of_its_options(catalogue: Providers) -> None:
    planned = plan(
        catalogue, picture("a"), picture("b"), approval("choose", "a", "b"), clip("film", "choose")
    )
    steps = {step.name: step for step in planned.plan.steps}
    assert steps["choose"].needs == ("a", "b")
    assert steps["film"].needs == ("choose",)
    assert planned.made["choose"].kind is MediaKind.IMAGE
    quotes = {new.step.name: new.quote for new in planned.steps}
    assert quotes["choose"].worst_nano_usd == 0
    assert planned.worst_nano_usd == sum(quotes[name].worst_nano_usd for name in ("a", "b", "film"))


def test_price_and_time_of_the_rest_follow_the_plan(catalogue: Providers) -> None:
    requests = (
        picture("a"),
        approval("choose", "a"),
        clip("film", "choose"),
        picture("b"),
        clip("beside", "b"),
    )
    planned = plan(catalogue, *requests, result="film")
    alone = plan(catalogue, picture("b"), clip("film", "b"))
    news = {new.step.name: new for new in planned.steps}
    values = news["choose"].parameters.values
    assert values[REST_LOW] == news["film"].quote.low_nano_usd > 0
    assert values[REST_EXPECTED] == news["film"].quote.expected_nano_usd > 0
    # The other branch is as long as the whole plan without the decision.
    assert values[PARALLEL_SECONDS] == alone.deadline_seconds
    assert 0 < int(values[REST_SECONDS]) < alone.deadline_seconds
    assert planned.deadline_seconds == alone.deadline_seconds + DAY + LAST_LOOK_SECONDS
    assert planned.eta_seconds == alone.eta_seconds + 1, "no estimate of a person's time"


def test_option_that_may_fail_is_optional(catalogue: Providers) -> None:
    planned = plan(
        catalogue,
        replace(picture("a"), on_failure=OnFailure.CONTINUE),
        picture("b"),
        approval("choose", "a", "b"),
    )
    assert planned.plan.step("choose").optional_needs == ("a",)


def test_options_of_one_kind_are_required(catalogue: Providers) -> None:
    found = faults(
        catalogue, picture("a"), clip("film", "a"), approval("choose", "a", "film", "a", "c")
    )
    assert found["choose/params/options/1"].code is FaultCode.WRONG_MEDIA
    assert "image" in found["choose/params/options/1"].detail
    assert "another option" in found["choose/params/options/2"].detail
    assert found["choose/params/options/3"].code is FaultCode.UNKNOWN_STEP


def test_count_is_expanded_into_candidates(catalogue: Providers) -> None:
    planned = plan(
        catalogue,
        picture("pic", count=3, seed=7),
        approval("choose", "pic"),
        replace(picture("last"), needs=("pic",)),
    )
    steps = {new.step.name: new for new in planned.steps}
    names = ("pic-1", "pic-2", "pic-3")
    assert tuple(steps) == (*names, "choose", "last")
    assert [steps[name].parameters.values["seed"] for name in names] == [7, 8, 9]
    assert steps["choose"].step.needs == steps["last"].step.needs == names


def test_candidates_without_seed_are_bought_each(catalogue: Providers) -> None:
    """Of equal purchases, only one would be bought."""
    drafts = replace(picture("pic", count=2), reuse=True)
    planned = plan(catalogue, drafts, approval("choose", "pic"))
    first, second = planned.steps[:2]
    assert first.parameters == second.parameters
    assert (first.step.reuse, second.step.reuse) == (False, False)
    seeded = replace(picture("pic", count=2, seed=3), reuse=True)
    assert plan(catalogue, seeded, approval("choose", "pic")).steps[0].step.reuse


def test_reference_to_a_count_names_its_candidates(catalogue: Providers) -> None:
    found = faults(catalogue, picture("pic", count=2), clip("film", "pic"))
    error = found["film/params/image"]
    assert error.code is FaultCode.UNKNOWN_STEP
    assert error.allowed == ["pic-1", "pic-2"]
    assert "approval" in error.detail
    film = replace(clip("film", "pic-2"), needs=("choose",))
    planned = plan(catalogue, picture("pic", count=2), approval("choose", "pic"), film)
    assert planned.plan.step("film").needs == ("pic-2", "choose")


def test_candidates_count_as_steps(catalogue: Providers) -> None:
    requests = [picture(f"pic{number}", count=8) for number in range(7)]
    found = faults(catalogue, *requests, approval("choose", "pic0"))
    assert found["plan/steps"].code is FaultCode.TOO_MANY_STEPS
    assert "57" in found["plan/steps"].detail


def test_error_of_a_candidate_is_named_once(catalogue: Providers) -> None:
    found = faults(
        catalogue,
        picture("pic", count=3, aspect_ratio="1:7"),
        picture("pic-2"),
        approval("choose", "pic"),
    )
    assert set(found) == {"pic/params/aspect_ratio", "pic-2/name"}


def test_further_outputs_are_those_of_every_option(catalogue: Providers) -> None:
    voice = StepRequest(
        name="voice",
        kind=StepKind.AUDIO,
        model="fal-ai/elevenlabs/tts/turbo-v2.5",
        parameters=Parameters(values={"text": "Hello."}),
        count=2,
        path="voice/",
        field_prefix="voice/params/",
    )
    planned = plan_steps(
        catalogue,
        (voice, approval("choose", "voice")),
        plan_type=PlanType.PLAN,
        result_step="choose",
        outputs=(OutputRequest(name="words", step="choose", output="words", field="outputs"),),
    )
    assert planned.plan.outputs["words"] == StepOutput(step="choose", output=1)
