"""One example of every message that travels through Temporal.

`python -m tests.unit.domain.messages` writes missing golden files. A golden file is a message as
stored in some workflow history, so it is never changed or removed. A new field has a default: the
existing example stays what the old payload decodes to, and the new form gets its own example.
"""

import json
from pathlib import Path
from typing import Any

from temporalio.converter import DataConverter

from core.domain.failures import Failure, FailureCode
from core.domain.ids import AssetId, EventId, ExecutionId, JobId, UserId
from core.domain.media.content import MediaKind
from core.domain.messages.approvals import ApprovalOrder, ApprovalResult
from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.executions import (
    CancelInput,
    ClaimOutcome,
    ClaimResult,
    ExecutionOrder,
    ExecutionOutcome,
    ExecutionRef,
    FinishInput,
    StepJob,
)
from core.domain.messages.jobs import (
    CancelJobResult,
    CancelOutcome,
    FindJobResult,
    FindOutcome,
    JobRef,
    PurchaseClaim,
    ReuseOrder,
    SettleJobResult,
    SubmitJobResult,
    SubmitOutcome,
    WaitJobResult,
)
from core.domain.messages.media import MediaFailure, MediaOrder, MediaResult, PosterOrder
from core.domain.messages.webhooks import (
    AttemptOutcome,
    AttemptResult,
    DeliveryOrder,
    DeliveryStart,
)
from core.domain.money import NanoUsd
from core.domain.plans import OnFailure, Plan, PlanType, Step, StepKind
from core.domain.states import ExecutionStatus, JobState

GOLDEN = Path(__file__).parent / "golden"
USER, EXECUTION, JOB = UserId("usr_1"), ExecutionId("exec_1"), JobId("job_1")
REF = ExecutionRef(user_id=USER, execution_id=EXECUTION, generation=2, type=PlanType.GENERATE_VIDEO)
FAILURE = Failure(
    code=FailureCode.PROVIDER_FAILED, message="The provider could not finish this step."
)


def _step(name: str, kind: StepKind, *needs: str) -> Step:
    return Step(
        name=name,
        kind=kind,
        provider="p",
        model="p/m",
        deadline_seconds=300,
        usual_seconds=4,
        needs=needs,
        on_failure=OnFailure.STOP,
    )


PLAN = Plan(
    type=PlanType.GENERATE_VIDEO,
    steps=(_step("image", StepKind.IMAGE), _step("video", StepKind.VIDEO, "image")),
    result_step="video",
    version=1,
)

MESSAGES: dict[str, Any] = {
    "execution_order": ExecutionOrder(
        execution_id=EXECUTION, user_id=USER, generation=2, plan=PLAN
    ),
    "execution_ref": REF,
    "claim_result": ClaimResult(
        outcome=ClaimOutcome.CLAIMED, jobs=(StepJob(step="image", job_id=JOB),)
    ),
    "cancel_input": CancelInput(execution=REF, reason="enough"),
    "finish_input": FinishInput(execution=REF, status=ExecutionStatus.FAILED, failure=FAILURE),
    "execution_outcome": ExecutionOutcome(
        status=ExecutionStatus.FAILED,
        spent_nano_usd=3_000_000,
        event_id=EventId("evt_1"),
        failure=FAILURE,
    ),
    "execution_outcome_webhook": ExecutionOutcome(
        status=ExecutionStatus.COMPLETED,
        event_id=EventId("evt_1"),
        attempt_webhook=True,
        webhook=AttemptOutcome.RETRY,
    ),
    "finish_input_webhook": FinishInput(
        execution=REF, status=ExecutionStatus.COMPLETED, attempts_webhook=True
    ),
    "job_ref": JobRef(user_id=USER, execution_id=EXECUTION, job_id=JOB, generation=2),
    "submit_job_result": SubmitJobResult(
        outcome=SubmitOutcome.NOT_SENT, retry_after_seconds=7.5, failure=FAILURE
    ),
    "find_job_result": FindJobResult(outcome=FindOutcome.GIVEN_UP, failure=FAILURE),
    "submit_job_result_settled": SubmitJobResult(
        outcome=SubmitOutcome.SUBMITTED,
        send_number=1,
        settled=SettleJobResult(
            state=JobState.COMPLETED, execution_spent_nano_usd=NanoUsd(2), cost_nano_usd=2
        ),
    ),
    "wait_job_result": WaitJobResult(state=JobState.COMPLETED),
    "wait_job_result_settled": WaitJobResult(
        state=JobState.COMPLETED,
        settled=SettleJobResult(
            state=JobState.COMPLETED,
            execution_spent_nano_usd=NanoUsd(2_000_000),
            cost_nano_usd=NanoUsd(2_000_000),
        ),
    ),
    "settle_job_result": SettleJobResult(
        state=JobState.FAILED, execution_spent_nano_usd=NanoUsd(3_000_000), failure=FAILURE
    ),
    "media_order": MediaOrder(
        job=JobRef(user_id=USER, execution_id=EXECUTION, job_id=JOB, generation=2),
        is_final=True,
        input_failure=FAILURE,
        makes=MediaKind.VIDEO,
    ),
    "approval_order": ApprovalOrder(
        job=JobRef(user_id=USER, execution_id=EXECUTION, job_id=JOB, generation=2),
        input_failure=FAILURE,
        is_idle=True,
    ),
    "approval_result": ApprovalResult(state=JobState.FAILED, failure=FAILURE, seconds_left=60.5),
    "media_result": MediaResult(state=JobState.FAILED, failure=FAILURE),
    "media_failure": MediaFailure(
        job=JobRef(user_id=USER, execution_id=EXECUTION, job_id=JOB, generation=2),
        failure=FAILURE,
    ),
    "poster_order": PosterOrder(user_id=USER, execution_id=EXECUTION, asset_id=AssetId("asset_1")),
    "purchase_claim": PurchaseClaim(source=JobId("job_2"), is_busy=True),
    "reuse_order": ReuseOrder(
        job=JobRef(user_id=USER, execution_id=EXECUTION, job_id=JOB, generation=2),
        source=JobId("job_2"),
    ),
    "cancel_job_result": CancelJobResult(outcome=CancelOutcome.REQUESTED),
    "store_asset_result": StoreAssetResult(
        asset_id=AssetId("asset_1"), size_bytes=17, failure=FAILURE
    ),
    "delivery_order": DeliveryOrder(user_id=USER, event_id=EventId("evt_1"), delivery=2),
    "attempt_result": AttemptResult(
        outcome=AttemptOutcome.RETRY, number=3, status_code=503, retry_after_seconds=1.5
    ),
    "attempt_result_first": AttemptResult(
        outcome=AttemptOutcome.RETRY, number=1, status_code=503, pause_seconds=5.5
    ),
    "delivery_start": DeliveryStart(
        delivery=DeliveryOrder(user_id=USER, event_id=EventId("evt_1")), pause_seconds=5.5
    ),
}


def encoded(message: Any) -> Any:
    """Return the message as stored in a history: JSON of Temporal's default converter."""
    (payload,) = DataConverter.default.payload_converter.to_payloads([message])
    return json.loads(payload.data)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, message in MESSAGES.items():
        path = GOLDEN / f"{name}.json"
        if not path.exists():
            path.write_text(
                json.dumps(encoded(message), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
            )
