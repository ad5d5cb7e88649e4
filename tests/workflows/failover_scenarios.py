"""Executions whose video continues at another model, after a job that cost nothing."""

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId
from core.domain.messages.executions import ClaimOutcome, ClaimResult, StepJob
from core.domain.messages.jobs import (
    FindJobResult,
    FindOutcome,
    NextJob,
    SettleJobResult,
    SubmitJobResult,
    SubmitOutcome,
    WaitJobResult,
)
from core.domain.money import NanoUsd
from core.domain.states import JobState
from tests.workflows.fake_activities import IMAGE_PROVIDER
from tests.workflows.scenarios import (
    CANCELLED,
    COMPLETED,
    FAILED,
    UNKNOWN,
    Scenario,
    at,
    failed_free,
    signal,
)

MODERATED = Failure.of(FailureCode.CONTENT_MODERATED)
SECOND = NextJob(job_id=JobId("job_video2"), provider=IMAGE_PROVIDER, model="one/video")


def turned(following: NextJob | None = SECOND) -> SettleJobResult:
    """Return the end of a job that cost nothing. following: the job at the next model."""
    return SettleJobResult(
        state=JobState.FAILED,
        failure=MODERATED,
        execution_spent_nano_usd=NanoUsd(0),
        next_job=following,
    )


def refused(following: NextJob | None = SECOND) -> SubmitJobResult:
    return SubmitJobResult(
        outcome=SubmitOutcome.ENDED if following else SubmitOutcome.REFUSED,
        failure=MODERATED,
        send_number=1,
        settled=turned(following) if following else None,
    )


def ended(settled: SettleJobResult) -> WaitJobResult:
    return WaitJobResult(state=JobState.FAILED, settled=settled)


FAILOVERS: dict[str, Scenario] = {
    "failover_refused": Scenario(status=COMPLETED, answers={"submit video": [refused()]}),
    "failover_after_free_failures": Scenario(
        status=COMPLETED,
        answers={"wait video": [ended(failed_free(1)), ended(failed_free(2)), ended(turned())]},
    ),
    # The worker was lost after it committed the end of the job.
    "failover_lost_submit": Scenario(
        status=COMPLETED,
        answers={
            "submit video": [UNKNOWN],
            "find video": [FindJobResult(outcome=FindOutcome.ENDED, failure=MODERATED)],
            "wait video": [ended(turned())],
        },
    ),
    "failover_refused_twice": Scenario(
        status=FAILED,
        failure=FailureCode.CONTENT_MODERATED,
        answers={"submit video": [refused()], "submit video2": [refused(None)]},
    ),
    "failover_cancelled": Scenario(
        status=CANCELLED,
        failure=FailureCode.CANCELLED,
        answers={"wait video": [ended(turned())]},
        breakpoints=("wait video",),
        act=at("wait video", signal),
    ),
    # A run that a recovery or a retry started again, while its job is at the second model.
    "failover_before_the_claim": Scenario(
        status=COMPLETED,
        answers={
            "claim": [
                ClaimResult(
                    outcome=ClaimOutcome.CLAIMED,
                    jobs=(
                        StepJob(step="image", job_id=JobId("job_image")),
                        StepJob(
                            step="video",
                            job_id=SECOND.job_id,
                            provider=SECOND.provider,
                            model=SECOND.model,
                        ),
                    ),
                )
            ]
        },
    ),
}
RECORDED_FAILOVERS = ("failover_refused", "failover_after_free_failures")
"""Scenarios whose histories are stored."""
