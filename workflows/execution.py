"""The workflow of one execution, from its claim to its webhook event."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from workflows import activity_calls
from workflows.approvals import Approvals
from workflows.media_steps import MediaSteps
from workflows.purchases import Purchases
from workflows.run_state import RunState
from workflows.stored_files import StoredFiles

with workflow.unsafe.imports_passed_through():
    from activities.executions import ExecutionActivities
    from core.domain.failures import Failure, FailureCode
    from core.domain.messages.executions import (
        CURRENT_PATH,
        CancelInput,
        ClaimOutcome,
        ClaimResult,
        ExecutionOrder,
        ExecutionOutcome,
        FinishInput,
    )
    from core.domain.messages.media import PosterOrder
    from core.domain.messages.webhooks import (
        AttemptOutcome,
        AttemptResult,
        DeliveryOrder,
        DeliveryStart,
    )
    from core.domain.money import NANO_PER_USD
    from core.domain.plans import Step
    from core.domain.states import ExecutionStatus, JobState
    from core.platform.temporal.search_attributes import COST_USD, STATUS

Result = TypeVar("Result")


@workflow.defn(name="execution")
class ExecutionWorkflow:
    """Run the steps of a plan, pay for each once, and end with the files or with the money back."""

    @workflow.init
    def __init__(self, order: ExecutionOrder) -> None:
        self._state = RunState(order)
        self._files = StoredFiles(self._state)
        self._purchases = Purchases(self._state, self._files)
        self._media = MediaSteps(self._state, self._files)
        self._approvals = Approvals(self._state, self._files)
        self._cancelled_natively = False
        self._ended = False
        self._retried = False

    @workflow.signal(description="A cancel is committed in the execution's row.")
    def cancel_requested(self, reason: str, generation: int = 0) -> None:
        """Cancel this generation (0: any): a cancel from before a retry leaves the retry alone."""
        if generation in (0, self._state.order.generation):
            self._state.cancel_reason = self._state.cancel_reason or reason

    @workflow.signal(description="A later generation is queued, which needs this workflow's id.")
    def retry_queued(self, generation: int) -> None:
        self._retried = self._retried or generation > self._state.order.generation

    @workflow.signal(description="The decision of an approval step is committed.")
    def approval_decided(self, step: str, generation: int) -> None:
        if generation == self._state.order.generation:
            self._approvals.note_decision(step)

    @workflow.run
    async def run(self, order: ExecutionOrder) -> ExecutionOutcome:
        claim = await self._uninterrupted(
            activity_calls.database_step(ExecutionActivities.claim, self._state.ref)
        )
        self._state.path = _known(claim.path)
        if not self._may_run(claim):
            if self._state.path >= 1:
                _upsert([STATUS.value_unset()])
            return ExecutionOutcome(status=None)
        self._state.jobs = {item.step: item for item in claim.jobs}
        if self._state.path == 0:
            _upsert([STATUS.value_set(ExecutionStatus.RUNNING)])
        await self._uninterrupted(self._run_steps())
        outcome = await self._uninterrupted(self._finish())
        self._ended = True
        outcome = await self._uninterrupted(self._announce(outcome))
        if self._cancelled_natively and outcome.status is ExecutionStatus.CANCELLED:
            # Cancelled in the Web UI: so the Web UI shows it as Canceled.
            raise asyncio.CancelledError(self._state.cancel_reason)
        return outcome

    async def _uninterrupted(self, work: Awaitable[Result]) -> Result:
        """Await work to its end, and turn a native cancel meanwhile into a cancel of this service.

        Awaiting the work directly would pass the cancel into it, which could lose the id of a paid
        job. The cancel is also committed to the execution's row, as the API does, so that no send
        begins from then on.
        """
        task = asyncio.ensure_future(work)
        while not task.done():
            try:
                await workflow.wait([task])
            except asyncio.CancelledError:
                if self._ended:
                    continue  # there is nothing to cancel: the webhook reports the end
                self._cancelled_natively = True
                self._state.cancel_reason = (
                    self._state.cancel_reason
                    or workflow.cancellation_reason()
                    or "cancelled by an operator"
                )
                cancel = CancelInput(execution=self._state.ref, reason=self._state.cancel_reason)
                self._state.committing_cancel = asyncio.create_task(
                    activity_calls.database_step(ExecutionActivities.cancel, cancel)
                )
        return task.result()

    def _may_run(self, claim: ClaimResult) -> bool:
        """Return whether this run continues after its claim.

        LOST: another run has the generation. WAITING: its user has no free slot, so another run is
        started later. A cancelled execution continues to its end.
        """
        if claim.outcome is ClaimOutcome.LOST:
            return False
        if claim.outcome is ClaimOutcome.WAITING and not self._state.cancelled:
            return False
        if claim.outcome is ClaimOutcome.CANCELLED:
            self._state.cancel_reason = self._state.cancel_reason or "cancelled before it started"
        return True

    async def _run_steps(self) -> None:
        """Run steps in parallel as their dependencies complete, then wait for stored files."""
        done = {step.name: asyncio.Event() for step in self._state.order.plan.steps}

        async def run_in_turn(step: Step) -> None:
            for need in step.needs:
                await done[need].wait()
            if self._state.is_left(step):
                self._state.show(step, self._state.jobs[step.name].state)
            else:
                await self._runner_of(step).run_step(step)
            self._state.ended.add(step.name)
            done[step.name].set()

        await asyncio.gather(*(run_in_turn(step) for step in self._state.order.plan.steps))
        await self._files.all_stored()
        if self._state.committing_cancel is not None:
            await self._state.committing_cancel

    def _runner_of(self, step: Step) -> MediaSteps | Approvals | Purchases:
        if step.is_approval:
            return self._approvals
        return self._media if step.is_media else self._purchases

    async def _finish(self) -> ExecutionOutcome:
        """End the execution: final state, released hold and webhook event in one transaction."""
        if self._state.failure is not None:
            status, failure = ExecutionStatus.FAILED, self._state.failure
        elif self._state.states[self._state.order.plan.result_step] is JobState.COMPLETED:
            status, failure = ExecutionStatus.COMPLETED, None
        elif self._state.cancel_reason == FailureCode.DEADLINE_EXCEEDED:
            # Set by the reconciler alone.
            status, failure = ExecutionStatus.FAILED, Failure.of(FailureCode.DEADLINE_EXCEEDED)
        elif not self._state.cancelled and self._state.first_failure is not None:
            # The plan continued after it, and the result needs that step.
            status, failure = ExecutionStatus.FAILED, self._state.first_failure
        else:
            status, failure = ExecutionStatus.CANCELLED, Failure.of(FailureCode.CANCELLED)
        if failure is not None and failure.code is FailureCode.APPROVAL_REJECTED:
            status = ExecutionStatus.CANCELLED  # by its user
        outcome = await activity_calls.database_step(
            ExecutionActivities.finish,
            FinishInput(
                execution=self._state.ref, status=status, failure=failure, attempts_webhook=True
            ),
        )
        self._state.spent_nano_usd = outcome.spent_nano_usd
        _upsert(
            [
                STATUS.value_set(outcome.status or status),
                # For filters; the ledger is exact.
                COST_USD.value_set(outcome.spent_nano_usd / NANO_PER_USD),
            ]
        )
        self._state.describe(outcome.status or status)
        return outcome

    async def _announce(self, outcome: ExecutionOutcome) -> ExecutionOutcome:
        """Attempt the webhook, and make the poster of a video alongside it.

        The poster comes after the end, so that a busy media queue delays no result, and no failure
        of it fails an execution.
        """
        poster = None
        if outcome.poster_of is not None and self._state.path >= 5:
            ref = self._state.ref
            poster = asyncio.create_task(
                activity_calls.make_poster(
                    PosterOrder(
                        user_id=ref.user_id,
                        execution_id=ref.execution_id,
                        asset_id=outcome.poster_of,
                    )
                )
            )
        if outcome.attempt_webhook and outcome.event_id is not None:
            delivery = DeliveryOrder(user_id=self._state.ref.user_id, event_id=outcome.event_id)
            webhook = await self._deliver(delivery)
            outcome = replace(outcome, attempt_webhook=False, webhook=webhook)
        if poster is not None:
            await poster
        return outcome

    async def _deliver(self, order: DeliveryOrder) -> AttemptOutcome:
        """Attempt once to deliver the webhook, and start `deliver_webhook` if that fails.

        A retry of the execution needs this workflow's id: then the workflow ends at once. The
        worker finishes an attempt that it has begun, and the reconciler starts what must follow.
        """
        result = AttemptResult(outcome=AttemptOutcome.RETRY, number=0)
        if not self._retried:
            attempt = asyncio.create_task(activity_calls.attempt_webhook(order))
            await workflow.wait_condition(lambda: attempt.done() or self._retried)
            if not attempt.done():
                return AttemptOutcome.RETRY
            result = attempt.result()
        if result.outcome is AttemptOutcome.RETRY:
            await activity_calls.start_delivery(
                DeliveryStart(delivery=order, pause_seconds=result.pause_seconds)
            )
        return result.outcome


def _upsert(updates: "list[SearchAttributeUpdate[Any]]") -> None:
    workflow.upsert_search_attributes(updates)  # pyright: ignore[reportUnknownMemberType] - the SDK leaves its type open


def _known(path: int) -> int:
    """Return the path of a run, or fail the workflow task: Temporal repeats it on another worker.

    During an upgrade, a worker of the earlier version would append its own commands to a run that a
    worker of the later version claimed, and no version could replay the mixture.
    """
    if path > CURRENT_PATH:
        raise RuntimeError(
            f"this run was claimed by a later version of the worker (path {path}, known: up to "
            f"{CURRENT_PATH}); a worker of that version continues it"
        )
    return path
