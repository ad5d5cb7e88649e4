"""Plans: validation, lossless storage, and progress that never decreases."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from temporalio.converter import DataConverter

from core.domain.ids import AssetId
from core.domain.media.content import MediaKind
from core.domain.plans import (
    MAX_STEPS,
    AssetSource,
    OnFailure,
    OperationKind,
    Parameters,
    Plan,
    PlanType,
    Step,
    StepKind,
    StepOutput,
    StepProgress,
    parameters_from_json,
    parameters_to_json,
    plan_from_json,
    plan_to_json,
    progress_percent,
)
from core.domain.states import JOB_MOVES, JobState

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEXT = st.text(max_size=40)


def step(name: str, *needs: str) -> Step:
    return Step(
        name=name,
        kind=StepKind.IMAGE,
        provider="p",
        model="m",
        deadline_seconds=300,
        usual_seconds=4,
        needs=needs,
    )


def plan(*steps: Step, result: str | None = None) -> Plan:
    return Plan(type=PlanType.GENERATE_VIDEO, steps=steps, result_step=result or steps[-1].name)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=8, unique=True))
    steps = tuple(
        Step(
            name=name,
            kind=draw(st.sampled_from([*StepKind, *OperationKind])),
            provider=draw(TEXT),
            model=draw(TEXT),
            deadline_seconds=draw(st.integers(1, 10_000)),
            usual_seconds=draw(st.integers(1, 1_000)),
            needs=(
                needs := tuple(
                    draw(st.lists(st.sampled_from(names[:position]), unique=True))
                    if position
                    else ()
                )
            ),
            optional_needs=needs[: draw(st.integers(0, len(needs)))],
            on_failure=draw(st.sampled_from(OnFailure)),
            stored_with_next=draw(st.booleans()),
            reuse=draw(st.booleans()),
            makes=draw(st.sampled_from([None, *MediaKind])),
        )
        for position, name in enumerate(names)
    )
    outputs = st.builds(StepOutput, step=st.sampled_from(names), output=st.integers(0, 9))
    return Plan(
        type=PlanType.PLAN,
        steps=steps,
        result_step=draw(st.sampled_from(names)),
        outputs=draw(st.dictionaries(TEXT, outputs, max_size=3)),
    )


@given(drawn=plans())
def test_plan_survives_storage(drawn: Plan) -> None:
    assert plan_from_json(json.loads(json.dumps(plan_to_json(drawn)))) == drawn


def test_plan_of_an_earlier_version_stores_each_file_at_once() -> None:
    plain: dict[str, Any] = json.loads(json.dumps(plan_to_json(plan(step("image")))))
    del plain["steps"][0]["stored_with_next"]
    assert plan_from_json(plain).steps[0].stored_with_next is False


@given(drawn=plans())
def test_plan_survives_a_workflow_history(drawn: Plan) -> None:
    converter = DataConverter.default.payload_converter
    (read,) = converter.from_payloads(converter.to_payloads([drawn]), [Plan])
    assert read == drawn
    assert [step.is_media for step in read.steps] == [step.is_media for step in drawn.steps]


def test_earlier_plan_has_one_result_and_reuses_nothing() -> None:
    plain: dict[str, Any] = json.loads(json.dumps(plan_to_json(plan(step("image")))))
    del plain["outputs"], plain["steps"][0]["optional_needs"], plain["steps"][0]["reuse"]
    assert plan_from_json(plain) == plan(step("image"))


def test_plan_refuses_outputs_and_optional_needs_of_no_step() -> None:
    with pytest.raises(ValueError, match="the output 'cover' is of no step"):
        replace(plan(step("a")), outputs={"cover": StepOutput(step="b")})
    with pytest.raises(ValueError, match="not among its needs"):
        plan(step("a"), replace(step("b"), optional_needs=("a",)))


def test_malformed_plan_is_rejected() -> None:
    for broken in ({}, {"type": "generate-video"}):
        with pytest.raises(TypeError):
            plan_from_json(broken)
    with pytest.raises(TypeError):
        plan_from_json(
            {"steps": [{"name": "a"}], "type": "generate-video", "result_step": "a", "version": 1}
        )


def test_plan_needs_one_to_fifty_steps() -> None:
    with pytest.raises(ValueError, match="1 to 50 steps, not 0"):
        Plan(type=PlanType.GENERATE_VIDEO, steps=(), result_step="a")
    assert plan(*(step(f"s{number}") for number in range(MAX_STEPS)))
    with pytest.raises(ValueError, match="not 51"):
        plan(*(step(f"s{number}") for number in range(MAX_STEPS + 1)))


def test_plan_with_a_duplicate_name_is_rejected() -> None:
    with pytest.raises(ValueError, match="same name"):
        plan(step("a"), step("a"))


@pytest.mark.parametrize("needs", [("b",), ("a",), ("nobody",)])
def test_plan_refuses_a_step_that_needs_a_later_one(needs: tuple[str, ...]) -> None:
    """A later step, the step itself or an unknown step, so that a plan has no cycle."""
    with pytest.raises(ValueError, match="must be an earlier step"):
        plan(step("a", *needs), step("b"))


def test_plan_without_its_result_step_is_rejected() -> None:
    with pytest.raises(ValueError, match="not in the plan"):
        plan(step("a"), result="b")


@given(
    drawn=st.builds(
        Parameters,
        values=st.dictionaries(
            st.sampled_from(["prompt", "seed", "sound", "stability"]),
            TEXT | st.integers() | st.booleans() | st.floats(0, 1),
        ),
        sources=st.dictionaries(
            st.sampled_from(["image", "audio"]),
            st.builds(StepOutput, step=TEXT, output=st.integers(0, 9))
            | st.builds(AssetSource, asset=TEXT.map(AssetId)),
        ),
    )
)
def test_parameters_survive_storage(drawn: Parameters) -> None:
    assert parameters_from_json(json.loads(json.dumps(parameters_to_json(drawn)))) == drawn


def test_parameters_of_a_media_step_survive_storage() -> None:
    operation = {
        "items": [{"media": {"asset": "asset_1"}, "volume": 0.2}, {"media": {"step": "clip"}}],
        "transition": {"type": "fade"},
    }
    parameters = Parameters(
        sources={
            "items/0/media": AssetSource(asset=AssetId("asset_1")),
            "items/1/media": StepOutput(step="clip"),
        },
        operation=operation,
    )
    assert parameters_from_json(json.loads(json.dumps(parameters_to_json(parameters)))) == (
        parameters
    )
    assert parameters.steps == {"clip"}
    named = Parameters(values={"operation": "add"})
    assert parameters_from_json(parameters_to_json(named)) == named


@pytest.mark.parametrize(
    "broken",
    [
        {"prompt": None},
        {"prompt": ["x"]},
        {"image": {}},
        {"image": {"url": "https://pictures.example/boat.png"}},
        {"image": {"step": "image", "output": "0"}},
    ],
)
def test_malformed_parameters_are_rejected(broken: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        parameters_from_json(broken)


def test_parameters_of_an_earlier_version_are_readable() -> None:
    plain: dict[str, object] = {
        "prompt": "A paper boat",
        "duration_seconds": 5,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "seed": 811,
        "image": {"step": "image", "output": 0},
    }
    parameters = parameters_from_json(plain)
    assert parameters == Parameters(
        values={name: value for name, value in plain.items() if isinstance(value, str | int)},
        sources={"image": StepOutput(step="image", output=0)},
    )
    assert parameters.steps == {"image"}
    assert parameters_to_json(parameters) == plain


@st.composite
def walks(draw: st.DrawFn) -> list[tuple[list[StepProgress], datetime]]:
    """Draw the progress of a generation over time, by legal moves that favour open states."""
    usual = draw(st.lists(st.integers(1, 200), min_size=1, max_size=3))
    steps = [
        StepProgress(name=str(number), usual_seconds=seconds, state=JobState.WAITING)
        for number, seconds in enumerate(usual)
    ]
    at, seen = NOW, [(steps, NOW)]
    for _ in range(draw(st.integers(1, 20))):
        at += timedelta(seconds=draw(st.integers(0, 100)))
        seen.append((steps, at))  # only time passes, then a move
        moving = draw(st.integers(0, len(steps) - 1))
        choices = sorted(JOB_MOVES[steps[moving].state], key=lambda state: (state.ended, state))
        if choices:
            state = draw(st.sampled_from([*choices[:1], *choices]))
            moved = replace(steps[moving], state=state)
            if state is JobState.SUBMITTED:
                moved = replace(moved, submitted_at=moved.submitted_at or at)
            steps = [*steps[:moving], moved, *steps[moving + 1 :]]
        seen.append((steps, at))
    return seen


@given(walk=walks())
def test_progress_never_decreases_and_stays_below_100(
    walk: list[tuple[list[StepProgress], datetime]],
) -> None:
    """Only a completed execution has 100."""
    percents = [progress_percent(steps, now) for steps, now in walk]
    assert all(before <= after for before, after in pairwise(percents)), percents
    assert all(0 <= percent <= 99 for percent in percents)


def progress(*steps: tuple[int, JobState, int]) -> int:
    """Return the progress of steps given as (usual seconds, state, age in seconds)."""
    return progress_percent(
        [
            StepProgress(
                name=str(number),
                usual_seconds=usual,
                state=state,
                submitted_at=NOW - timedelta(seconds=age),
            )
            for number, (usual, state, age) in enumerate(steps)
        ],
        NOW,
    )


def test_progress_is_weighted_by_usual_durations() -> None:
    assert progress((4, JobState.COMPLETED, 0), (60, JobState.WAITING, 0)) == 6
    assert progress((4, JobState.COMPLETED, 0), (60, JobState.SUBMITTED, 30)) == 52
    assert progress((4, JobState.WAITING, 0), (60, JobState.COMPLETED, 0)) == 92


def test_progress_of_a_slow_step_stops_at_90_percent() -> None:
    assert progress((100, JobState.SUBMITTED, 100_000)) == 89
    assert progress((100, JobState.COMPLETED, 0)) == 99
    assert progress_percent([], NOW) == 0
