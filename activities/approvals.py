"""The activity of approval steps: open the approval, and read its decision."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self

from temporalio import activity
from temporalio.client import Client

from activities.executions import ExecutionActivities
from core.domain.failures import Failure, FailureCode
from core.domain.messages.approvals import ApprovalOrder, ApprovalResult
from core.domain.messages.webhooks import DeliveryOrder
from core.domain.plans import Plan
from core.domain.states import JobState
from core.ordering.workflow_starts import start_delivery
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.approvals.looks import (
    fail_approval,
    find_seconds_left,
    list_candidates,
    lock_execution,
    note_decision,
    open_approval,
    pause_execution,
    resume_execution,
    shorten_deadline,
)
from core.store.database import Connection, Database
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.executions.unfinished import StoredOrder, find_next
from core.store.jobs.jobs import JobRecord, get_job
from core.webhooks.approval_event import insert_approval_event
from core.webhooks.asset_links import AssetLinks

log = get_logger(__name__)

LEAST_WAIT_SECONDS: Final = 1.0
"""Before the next look at an approval that is about to expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one transaction has done. delivery, following: to start after its commit."""

    result: ApprovalResult
    delivery: DeliveryOrder | None = None
    following: StoredOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalActivities:
    """The clients of the approval activity. client: starts the deliveries of events.

    start: starts a queued execution, and never fails.
    """

    client: Client
    database: Database
    links: AssetLinks
    limits: ConcurrencyLimits
    start: Callable[[StoredOrder], Awaitable[None]]

    @classmethod
    def of(cls, executions: ExecutionActivities) -> Self:
        """Return the activities with the clients of those of executions."""
        return cls(
            client=executions.client,
            database=executions.database,
            links=executions.links,
            limits=executions.limits,
            start=executions.try_start,
        )

    @activity.defn(name="look_at_approval")
    async def look(self, order: ApprovalOrder) -> ApprovalResult:
        """Open the approval if it is not open, and return its decision if there is one.

        Past its time, it expires. Repeating is safe: the decision and the end are in rows, and the
        reconciler starts what a lost call has not started.
        """
        async with self.database.as_user(order.job.user_id) as conn:
            look = await self._look(conn, order)
        if look.delivery is not None:
            await self._deliver(look.delivery)
        if look.following is not None:
            await self.start(look.following)
        return look.result

    async def _look(self, conn: Connection, order: ApprovalOrder) -> _Look:
        ref = order.job
        plan = await lock_execution(conn, ref.execution_id, ref.generation)
        job = await get_job(conn, ref.job_id)
        if plan is None:  # it was ended meanwhile, for example by an operator
            return _Look(result=ApprovalResult(state=job.state, failure=job.failure))
        seconds_left, delivery = 0.0, None
        if job.state is JobState.WAITING:
            seconds_left = await find_seconds_left(conn, job.job_id)
            if seconds_left is None:
                delivery = await self._open(conn, job, plan, order.input_failure)
                seconds_left = float(job.deadline_seconds)
            elif seconds_left <= 0:
                await fail_approval(conn, job.job_id, Failure.of(FailureCode.APPROVAL_EXPIRED))
                log.info("approval.expired", execution_id=job.execution_id, step=job.step_name)
            job = await get_job(conn, ref.job_id)
        following = None
        if job.state is not JobState.WAITING:
            await note_decision(conn, job.job_id)
            await shorten_deadline(conn, job)
            await resume_execution(conn, job.execution_id)
        elif order.is_idle:
            await pause_execution(conn, job.execution_id)
            following = await find_next(conn, ref.user_id, self.limits)
        result = ApprovalResult(
            state=job.state, failure=job.failure, seconds_left=max(LEAST_WAIT_SECONDS, seconds_left)
        )
        return _Look(result=result, delivery=delivery, following=following)

    async def _open(
        self, conn: Connection, job: JobRecord, plan: Plan, input_failure: Failure | None
    ) -> DeliveryOrder | None:
        """Open an approval, or let it fail because no option is left. Return its event."""
        candidates = await list_candidates(conn, job)
        if not candidates.options:
            failure = _nothing_left(candidates.failure or input_failure)
            await fail_approval(conn, job.job_id, failure)
            return None
        await open_approval(conn, job, plan, candidates.options)
        log.info(
            "approval.opened",
            execution_id=job.execution_id,
            step=job.step_name,
            options=len(candidates.options),
        )
        return await insert_approval_event(conn, job, self.links)

    async def _deliver(self, delivery: DeliveryOrder) -> None:
        try:
            async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
                await start_delivery(self.client, delivery)
        except (TimeoutError, *UNREACHABLE) as error:
            log.warning("webhook.start_failed", event_id=delivery.event_id, reason=str(error)[:200])


def _nothing_left(cause: Failure | None) -> Failure:
    """Return the failure of an approval without options: that of its first option."""
    cause = cause or Failure.of(FailureCode.OUTPUT_EXPIRED)
    return Failure(code=cause.code, message=f"No option is left to choose. {cause.message}")
