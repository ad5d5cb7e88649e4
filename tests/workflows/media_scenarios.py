"""Every way of a plan with media steps: two clips are made into a film, which gets captions."""

from collections.abc import Mapping
from dataclasses import replace

from temporalio.exceptions import ApplicationError

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId
from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.executions import ClaimOutcome, ClaimResult, StepJob
from core.domain.messages.media import MediaResult
from core.domain.plans import (
    MEDIA,
    OnFailure,
    OperationKind,
    Plan,
    PlanType,
    Step,
    StepKind,
    StepOutput,
)
from core.domain.states import ExecutionStatus, JobState
from tests.workflows.fake_activities import IMAGE_PROVIDER, VIDEO_PROVIDER
from tests.workflows.scenarios import CANCELLED, COMPLETED, FAILED, Scenario, at, signal


def bought(name: str, provider: str = VIDEO_PROVIDER) -> Step:
    return Step(
        name=name,
        kind=StepKind.VIDEO,
        provider=provider,
        model=f"{provider}/{name}",
        deadline_seconds=300,
        usual_seconds=10,
        stored_with_next=True,
    )


def made(name: str, kind: OperationKind, *needs: str, optional: tuple[str, ...] = ()) -> Step:
    return Step(
        name=name,
        kind=kind,
        provider=MEDIA,
        model=kind,
        deadline_seconds=300,
        usual_seconds=10,
        needs=needs,
        optional_needs=optional,
    )


FILM = Plan(
    type=PlanType.PLAN,
    steps=(
        bought("a"),
        bought("b", IMAGE_PROVIDER),
        made("film", OperationKind.MERGE, "a", "b"),
        made("subs", OperationKind.CAPTIONS, "film"),
    ),
    result_step="subs",
    outputs={"film": StepOutput(step="film")},
)
ONE_CLIP = replace(
    FILM,
    steps=(FILM.step("a"), made("film", OperationKind.MERGE, "a"), FILM.step("subs")),
)
"""Its commands have one order."""


def without_failure_of_b(plan: Plan, *, optional: bool) -> Plan:
    """Return a plan that continues when step b fails; optional: the film leaves it out."""
    a, b, film, subs = plan.steps
    return replace(
        plan,
        steps=(
            a,
            replace(b, on_failure=OnFailure.CONTINUE),
            replace(film, optional_needs=("b",) if optional else ()),
            subs,
        ),
    )


def claimed(plan: Plan, **states: tuple[JobState, bool]) -> ClaimResult:
    """Return the claim of a plan. states: of steps that an earlier generation made, and whether
    their files are stored.
    """
    jobs: list[StepJob] = []
    for step in plan.steps:
        state, stored = states.get(step.name, (JobState.WAITING, False))
        job_id = JobId(f"job_{step.name}")
        jobs.append(StepJob(step=step.name, job_id=job_id, state=state, stored=stored))
    return ClaimResult(outcome=ClaimOutcome.CLAIMED, jobs=tuple(jobs))


def scenario(
    plan: Plan = FILM,
    *,
    status: ExecutionStatus = COMPLETED,
    failure: FailureCode | None = None,
    answers: Mapping[str, list[object]] | None = None,
) -> Scenario:
    return Scenario(
        status=status,
        failure=failure,
        plan=plan,
        answers={"claim": [claimed(plan)], **(answers or {})},
    )


REFUSED = MediaResult(state=JobState.FAILED, failure=Failure.of(FailureCode.MEDIA_FAILED))
LOST_FILE = Failure.of(FailureCode.OUTPUT_EXPIRED)
ASSETS_ONLY = Plan(
    type=PlanType.PLAN,
    steps=(made("film", OperationKind.MERGE), made("cover", OperationKind.POSTER, "film")),
    result_step="film",
)

MEDIA_SCENARIOS: dict[str, Scenario] = {
    "media_happy": scenario(ONE_CLIP),
    "media_fan_in": scenario(),
    "media_assets_only": scenario(ASSETS_ONLY),
    "media_fails": scenario(
        ONE_CLIP, status=FAILED, failure=FailureCode.MEDIA_FAILED, answers={"media film": [REFUSED]}
    ),
    "media_busy": scenario(
        ONE_CLIP, answers={"media film": [MediaResult(state=JobState.WAITING)] * 2}
    ),
    "media_runs_lost": scenario(
        ONE_CLIP,
        status=FAILED,
        failure=FailureCode.INTERNAL_ERROR,
        answers={"media film": [ApplicationError("a defect", non_retryable=True)]},
    ),
    "media_input_lost": scenario(
        status=FAILED,
        failure=FailureCode.OUTPUT_EXPIRED,
        answers={"store a": [StoreAssetResult(asset_id=None, failure=LOST_FILE)]},
    ),
    "media_optional_left_out": scenario(
        without_failure_of_b(FILM, optional=True),
        answers={"wait b": [JobState.FAILED]},
    ),
    "media_needed_step_fails": scenario(
        without_failure_of_b(FILM, optional=False),
        status=FAILED,
        failure=FailureCode.PROVIDER_FAILED,
        answers={"wait b": [JobState.FAILED]},
    ),
    "media_kept": scenario(
        answers={
            "claim": [
                claimed(
                    FILM,
                    a=(JobState.COMPLETED, True),
                    b=(JobState.COMPLETED, False),
                    film=(JobState.COMPLETED, True),
                )
            ]
        }
    ),
    "media_cancelled": replace(
        scenario(
            ONE_CLIP,
            status=CANCELLED,
            failure=FailureCode.CANCELLED,
            answers={"media film": ["runs"]},
        ),
        breakpoints=("media film",),
        act=at("media film", signal),
    ),
    "media_poster": scenario(ONE_CLIP, answers={"finish": ["poster"]}),
}
CALLS: dict[str, list[str]] = {
    "media_happy": ["media film", "media subs"],
    "media_fan_in": ["media film", "media subs"],
    "media_assets_only": ["media film", "media cover"],
    "media_fails": ["media film"],
    "media_busy": ["media film", "media film", "media film", "media subs"],
    "media_runs_lost": ["media film", "fail_media film"],
    "media_input_lost": ["media film"],
    "media_optional_left_out": ["media film", "media subs"],
    "media_needed_step_fails": [],
    "media_kept": ["media subs"],
    "media_cancelled": ["media film", "killed film"],
    "media_poster": ["media film", "media subs", "poster asset_video"],
}
"""The calls about media steps, in order."""
RECORDED_MEDIA = (
    "media_happy",
    "media_fails",
    "media_busy",
    "media_runs_lost",
    "media_cancelled",
    "media_poster",
)
"""Scenarios whose histories are stored."""
