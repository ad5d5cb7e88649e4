"""Stand-ins for the activities of the execution workflow, under the same names.

Only here, where the workflow's decisions are what is tested: each keeps the little of its row that
the workflow sees.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from core.domain.failures import Failure, FailureCode
from core.domain.ids import AssetId, EventId, JobId, UserId
from core.domain.messages.approvals import ApprovalOrder, ApprovalResult
from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.executions import (
    CURRENT_PATH,
    CancelInput,
    ClaimOutcome,
    ClaimResult,
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
from core.domain.plans import Plan, PlanType, Step, StepKind
from core.domain.states import ExecutionStatus, JobState
from core.platform.temporal import policies
from workflows.execution import ExecutionWorkflow

IMAGE, VIDEO = "image", "video"
IMAGE_PROVIDER, VIDEO_PROVIDER = "one", "two"
PRICE = NanoUsd(3_000_000)
IDENTITY = "test"
EVENT_ID = EventId("evt_1")


def _step(name: str, kind: StepKind, provider: str, *needs: str) -> Step:
    return Step(
        name=name,
        kind=kind,
        provider=provider,
        model=f"{provider}/{name}",
        deadline_seconds=300,
        usual_seconds=10,
        needs=needs,
    )


PLAN = Plan(
    type=PlanType.GENERATE_VIDEO,
    steps=(
        _step(IMAGE, StepKind.IMAGE, IMAGE_PROVIDER),
        _step(VIDEO, StepKind.VIDEO, VIDEO_PROVIDER, IMAGE),
    ),
    result_step=VIDEO,
)
STORED_TOGETHER = replace(
    PLAN, steps=(replace(PLAN.step(IMAGE), stored_with_next=True), PLAN.step(VIDEO))
)
"""The image's file may wait for the video's."""


class Breakpoint:
    """Stops an activity: `reached` is set when it has begun, and `open` resumes it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._open.wait()


@dataclass(slots=True, kw_only=True)
class FakeActivities:
    """answers: what a step's activity answers, call by call; after the last one it goes well.

    calls: every call, as "submit image". sent: how often each step was really sent. ends: what
    finish committed. delivery_pauses: of the deliveries that were started.
    """

    answers: dict[str, list[Any]] = field(default_factory=dict[str, list[Any]])
    breakpoints: dict[str, Breakpoint] = field(default_factory=dict[str, Breakpoint])
    cancel_requested: bool = False
    calls: list[str] = field(default_factory=list[str])
    sent: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    ends: list[FinishInput] = field(default_factory=list[FinishInput])
    event_id: EventId = EVENT_ID
    delivery_pauses: list[float] = field(default_factory=list[float])
    cancel_reasons: list[str] = field(default_factory=list[str])
    media_orders: dict[str, MediaOrder] = field(default_factory=dict[str, MediaOrder])
    approval_orders: list[ApprovalOrder] = field(default_factory=list[ApprovalOrder])
    media_failures: dict[str, Failure] = field(default_factory=dict[str, Failure])
    _looks: dict[str, ApprovalResult] = field(default_factory=dict[str, ApprovalResult])
    _states: dict[str, JobState] = field(
        default_factory=lambda: defaultdict[str, JobState](lambda: JobState.WAITING)
    )
    _cancelled: dict[str, asyncio.Event] = field(
        default_factory=lambda: defaultdict[str, asyncio.Event](asyncio.Event)
    )

    def breakpoint_at(self, call: str) -> Breakpoint:
        return self.breakpoints.setdefault(call, Breakpoint())

    def count(self, call: str) -> int:
        return self.calls.count(call)

    async def _enter(self, name: str, ref: JobRef | None = None) -> tuple[str, Any]:
        """The step, and the answer that was ordered for this call."""
        step = ref.job_id.removeprefix("job_") if ref is not None else ""
        call = f"{name} {step}".strip()
        self.calls.append(call)
        ordered = self.answers.get(call, [])
        answer = ordered.pop(0) if ordered else None
        if call in self.breakpoints:
            await self.breakpoints[call].pass_through()
        return step, answer

    @activity.defn(name="claim_execution")
    async def claim(self, ref: ExecutionRef) -> ClaimResult:
        _, answer = await self._enter("claim")
        outcome = ClaimOutcome.CANCELLED if self.cancel_requested else ClaimOutcome.CLAIMED
        jobs = tuple(
            StepJob(step=step.name, job_id=JobId(f"job_{step.name}")) for step in PLAN.steps
        )
        return replace(answer or ClaimResult(outcome=outcome, jobs=jobs), path=CURRENT_PATH)

    @activity.defn(name="cancel_execution")
    async def cancel_execution(self, order: CancelInput) -> None:
        await self._enter("cancel_execution")
        self.cancel_requested = True
        self.cancel_reasons.append(order.reason)

    @activity.defn(name="claim_purchase")
    async def claim_purchase(self, ref: JobRef) -> PurchaseClaim:
        _, answer = await self._enter("claim_purchase", ref)
        return answer or PurchaseClaim()

    @activity.defn(name="reuse_assets")
    async def reuse(self, order: ReuseOrder) -> SettleJobResult:
        _, answer = await self._enter("reuse", order.job)
        if isinstance(answer, Exception):
            raise answer
        spent = NanoUsd(PRICE * sum(self.sent.values()))
        return answer or SettleJobResult(state=JobState.COMPLETED, execution_spent_nano_usd=spent)

    @activity.defn(name="submit_job")
    async def submit(self, ref: JobRef) -> SubmitJobResult:
        stopped = (
            self.cancel_requested
        )  # the intent is committed, or refused, before the call takes its time
        step, answer = await self._enter("submit", ref)
        if stopped:
            return SubmitJobResult(outcome=SubmitOutcome.STOPPED)
        self.sent[step] += 1
        if isinstance(answer, Exception):
            raise answer
        self._states[step] = JobState.SUBMITTED
        return answer or SubmitJobResult(outcome=SubmitOutcome.SUBMITTED)

    @activity.defn(name="find_job")
    async def find(self, ref: JobRef) -> FindJobResult:
        _, answer = await self._enter("find", ref)
        return answer or FindJobResult(outcome=FindOutcome.FOUND)

    @activity.defn(name="wait_for_job")
    async def wait(self, ref: JobRef) -> WaitJobResult:
        """Ordered "runs": until it is cancelled at its provider."""
        step, answer = await self._enter("wait", ref)
        if isinstance(answer, WaitJobResult):
            return answer
        state: JobState = answer or JobState.COMPLETED
        if answer == "runs":
            while not self._cancelled[step].is_set():
                activity.heartbeat()
                await asyncio.sleep(0.02)
            state = JobState.CANCELLED
        self._states[step] = state
        return WaitJobResult(state=state)

    @activity.defn(name="cancel_job")
    async def cancel_job(self, ref: JobRef) -> CancelJobResult:
        step, _ = await self._enter("cancel", ref)
        self._cancelled[step].set()
        return CancelJobResult(outcome=CancelOutcome.CANCELLED)

    @activity.defn(name="settle_job")
    async def settle(self, ref: JobRef) -> SettleJobResult:
        step, answer = await self._enter("settle", ref)
        state, failure = self._states[step], None
        if state is JobState.CANCELLED:
            failure = Failure.of(
                FailureCode.CANCELLED if self.cancel_requested else FailureCode.PROVIDER_TIMED_OUT
            )
        elif state is not JobState.COMPLETED:
            state, failure = JobState.FAILED, Failure.of(FailureCode.PROVIDER_FAILED)
        spent = NanoUsd(PRICE * sum(self.sent.values()))
        return answer or SettleJobResult(
            state=state, failure=failure, execution_spent_nano_usd=spent
        )

    @activity.defn(name="store_assets")
    async def store(self, ref: JobRef) -> StoreAssetResult:
        """The call is "store video, image" for the files of both steps."""
        names = ", ".join(job_id.removeprefix("job_") for job_id in (ref.job_id, *ref.more_jobs))
        _, answer = await self._enter(f"store {names}")
        if isinstance(answer, Exception):
            raise answer
        asset_id = AssetId(f"asset_{ref.job_id}")
        return answer or StoreAssetResult(asset_id=asset_id, size_bytes=1, more_jobs=ref.more_jobs)

    @activity.defn(name="run_media_job")
    async def run_media(self, order: MediaOrder) -> MediaResult:
        """Ordered "runs": until it is cancelled."""
        step, answer = await self._enter("media", order.job)
        self.media_orders[step] = order
        if isinstance(answer, Exception):
            raise answer
        if answer == "runs":
            try:
                while True:
                    activity.heartbeat()
                    await asyncio.sleep(0.02)
            finally:
                self.calls.append(f"killed {step}")
        if order.input_failure is not None:
            return MediaResult(state=JobState.FAILED, failure=order.input_failure)
        return answer or MediaResult(state=JobState.COMPLETED)

    @activity.defn(name="fail_media_job")
    async def fail_media(self, order: MediaFailure) -> None:
        step, _ = await self._enter("fail_media", order.job)
        self.media_failures[step] = order.failure

    @activity.defn(name="look_at_approval")
    async def look_at_approval(self, order: ApprovalOrder) -> ApprovalResult:
        """Without an answer: an option is chosen. A repeated call returns the same."""
        call = activity.info().activity_id
        if call not in self._looks:
            self.approval_orders.append(order)
            _, answer = await self._enter("approval", order.job)
            self._looks[call] = answer or ApprovalResult(state=JobState.COMPLETED)
        return self._looks[call]

    @activity.defn(name="make_poster")
    async def make_poster(self, order: PosterOrder) -> None:
        _, answer = await self._enter(f"poster {order.asset_id}")
        if isinstance(answer, Exception):
            raise answer

    @activity.defn(name="finish_execution")
    async def finish(self, order: FinishInput) -> ExecutionOutcome:
        """The first end stays, as in the row."""
        if not self.ends:
            self.ends.append(order)
        _, answer = await self._enter("finish")
        return ExecutionOutcome(
            status=self.ends[0].status,
            spent_nano_usd=PRICE * sum(self.sent.values()),
            event_id=self.event_id,
            failure=self.ends[0].failure,
            attempt_webhook=order.attempts_webhook and answer == "webhook",
            poster_of=AssetId("asset_video") if answer == "poster" else None,
        )

    @activity.defn(name="deliver_webhook_once")
    async def deliver(self, order: DeliveryOrder) -> AttemptResult:
        assert order == DeliveryOrder(user_id=UserId("usr_1"), event_id=self.event_id)
        _, answer = await self._enter("deliver")
        if isinstance(answer, Exception):
            raise answer
        return answer or AttemptResult(outcome=AttemptOutcome.DELIVERED, number=1)

    @activity.defn(name="start_webhook_delivery")
    async def start_delivery(self, start: DeliveryStart) -> None:
        _, answer = await self._enter("start_delivery")
        if isinstance(answer, Exception):
            raise answer
        self.delivery_pauses.append(start.pause_seconds)

    @property
    def status(self) -> ExecutionStatus:
        """Return the status of the one end of the execution."""
        (end,) = self.ends
        return end.status


@asynccontextmanager
async def workers(
    client: Client,
    stage: FakeActivities,
    queue: str,
    *,
    cached: int = 100,
    delivery: Sequence[Callable[..., Any]] = (),
    without: Collection[str] = (),
) -> AsyncGenerator[None]:
    """What a worker process runs, with the stand-ins. cached: 0 replays the workflow at each of its
    tasks. delivery: activities of a delivery's own workflow. without: these queues have no worker.
    """
    database = [
        stage.claim,
        stage.cancel_execution,
        stage.settle,
        stage.finish,
        stage.start_delivery,
        stage.fail_media,
        stage.look_at_approval,
        stage.claim_purchase,
    ]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            Worker(
                client,
                task_queue=queue,
                workflows=[ExecutionWorkflow],
                activities=database,
                max_cached_workflows=cached,
                workflow_runner=UnsandboxedWorkflowRunner(),
                identity=IDENTITY,
            )
        )
        for name, activities in (
            (policies.submit_queue(IMAGE_PROVIDER), [stage.submit, stage.cancel_job]),
            (policies.submit_queue(VIDEO_PROVIDER), [stage.submit, stage.cancel_job]),
            *(
                (policies.submit_queue(name, own_key=True), [stage.submit, stage.cancel_job])
                for name in (IMAGE_PROVIDER, VIDEO_PROVIDER)
            ),
            (policies.WAIT_QUEUE, [stage.wait, stage.find]),
            (policies.ASSETS_QUEUE, [stage.store, stage.reuse]),
            (policies.MEDIA_QUEUE, [stage.run_media, stage.make_poster]),
            (policies.WEBHOOKS_QUEUE, [stage.deliver, *delivery]),
        ):
            if name in without:
                continue
            await stack.enter_async_context(
                Worker(client, task_queue=name, activities=activities, identity=IDENTITY)
            )
        yield
