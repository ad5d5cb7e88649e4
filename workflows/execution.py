"""The workflow of one execution, from its claim to its webhook event."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate

from workflows import activity_calls

with workflow.unsafe.imports_passed_through():
    from activities.executions import ExecutionActivities
    from activities.jobs import JobActivities
    from core.domain.failures import Failure, FailureCode
    from core.domain.messages.executions import (
        CURRENT_PATH,
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
        FindOutcome,
        JobRef,
        SettleJobResult,
        SubmitJobResult,
        SubmitOutcome,
        WaitJobResult,
    )
    from core.domain.messages.webhooks import (
        AttemptOutcome,
        AttemptResult,
        DeliveryOrder,
        DeliveryStart,
    )
    from core.domain.money import NANO_PER_USD, usd_text
    from core.domain.plans import OnFailure, Step
    from core.domain.states import ExecutionStatus, JobState
    from core.platform.temporal import policies
    from core.platform.temporal.search_attributes import COST_USD, STATUS

Result = TypeVar("Result")


@workflow.defn(name="execution")
class ExecutionWorkflow:
    """Run the steps of a plan, pay for each once, and end with the files or with the money back."""

    @workflow.init
    def __init__(self, order: ExecutionOrder) -> None:
        self._order = order
        self._ref = ExecutionRef(
            user_id=order.user_id,
            execution_id=order.execution_id,
            generation=order.generation,
            type=order.plan.type,
        )
        self._jobs: dict[str, StepJob] = {}
        self._states = {step.name: JobState.WAITING for step in order.plan.steps}
        self._cancel_reason: str | None = None
        self._cancelled_natively = False
        self._ended = False
        self._retried = False
        self._committing_cancel: asyncio.Task[None] | None = None
        self._failure: Failure | None = None
        self._spent_nano_usd = 0
        self._storing: list[asyncio.Task[None]] = []
        self._unstored: list[tuple[Step, JobRef]] = []
        self._send_numbers: dict[str, int] = {}
        self._path = CURRENT_PATH

    @workflow.signal(description="A cancel is committed in the execution's row.")
    def cancel_requested(self, reason: str, generation: int = 0) -> None:
        """Cancel this generation (0: any): a cancel from before a retry leaves the retry alone."""
        if generation in (0, self._order.generation):
            self._cancel_reason = self._cancel_reason or reason

    @workflow.signal(description="A later generation is queued, which needs this workflow's id.")
    def retry_queued(self, generation: int) -> None:
        self._retried = self._retried or generation > self._order.generation

    @workflow.run
    async def run(self, order: ExecutionOrder) -> ExecutionOutcome:
        claim = await self._uninterrupted(
            activity_calls.database_step(ExecutionActivities.claim, self._ref)
        )
        self._path = _known(claim.path)
        if not self._may_run(claim):
            if self._path >= 1:
                _upsert([STATUS.value_unset()])
            return ExecutionOutcome(status=None)
        self._jobs = {item.step: item for item in claim.jobs}
        if self._path == 0:
            _upsert([STATUS.value_set(ExecutionStatus.RUNNING)])
        await self._uninterrupted(self._run_steps())
        outcome = await self._uninterrupted(self._finish())
        self._ended = True
        if outcome.attempt_webhook and outcome.event_id is not None:
            delivery = DeliveryOrder(user_id=order.user_id, event_id=outcome.event_id)
            webhook = await self._uninterrupted(self._deliver(delivery))
            outcome = replace(outcome, attempt_webhook=False, webhook=webhook)
        if self._cancelled_natively and outcome.status is ExecutionStatus.CANCELLED:
            # Cancelled in the Web UI: so the Web UI shows it as Canceled.
            raise asyncio.CancelledError(self._cancel_reason)
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
                self._cancel_reason = (
                    self._cancel_reason
                    or workflow.cancellation_reason()
                    or "cancelled by an operator"
                )
                cancel = CancelInput(execution=self._ref, reason=self._cancel_reason)
                self._committing_cancel = asyncio.create_task(
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
        if claim.outcome is ClaimOutcome.WAITING and not self._cancelled:
            return False
        if claim.outcome is ClaimOutcome.CANCELLED:
            self._cancel_reason = self._cancel_reason or "cancelled before it started"
        return True

    async def _run_steps(self) -> None:
        """Run steps in parallel as their dependencies complete, then wait for stored files."""
        done = {step.name: asyncio.Event() for step in self._order.plan.steps}

        async def run_in_turn(step: Step) -> None:
            for need in step.needs:
                await done[need].wait()
            await self._run_step(step)
            done[step.name].set()

        await asyncio.gather(*(run_in_turn(step) for step in self._order.plan.steps))
        self._store_waiting_files()
        await asyncio.gather(*self._storing)
        if self._committing_cancel is not None:
            await self._committing_cancel

    async def _run_step(self, step: Step) -> None:
        """Buy one step: submit, wait, settle. Its files are stored alongside the next steps."""
        if self._stopped or any(
            self._states[need] is not JobState.COMPLETED for need in step.needs
        ):
            return
        job = self._job_ref(step)
        if self._jobs[step.name].state is JobState.COMPLETED:
            await self._reuse(step, job)
            return
        settled = await self._buy(step, job)
        while settled is not None and settled.resend:
            self._store_waiting_files()
            self._show(step, JobState.WAITING)
            pauses = policies.TRANSIENT_BACKOFF_SECONDS
            backoff = policies.backoff_seconds(pauses, settled.resend)
            await self._pause(policies.spread_seconds(0.0, backoff, workflow.random().random()))
            settled = await self._buy(step, job, settled.failure)
        if settled is None:
            return
        self._show(step, settled.state)
        if settled.state is JobState.COMPLETED:
            self._unstored.append((step, job))
            if self._path < 2 or not step.stored_with_next:
                self._store_waiting_files()
        elif settled.failure is not None and settled.failure.code is not FailureCode.CANCELLED:
            self._note_failure(step, settled.failure)  # a job that the user cancelled did not fail

    async def _buy(
        self, step: Step, job: JobRef, refusal: Failure | None = None
    ) -> SettleJobResult | None:
        """Submit a job, wait for its end and settle it; None: it was not submitted.

        refusal: why the job's last send did not produce a file.
        """
        submitted = await self._submit(step, job, refusal)
        if submitted is None:
            return None
        settled = submitted.settled
        if settled is None:
            self._show(step, JobState.SUBMITTED)
            settled = (await self._wait(step, job)).settled
        if settled is None or self._path == 0:  # a run that an earlier version may continue
            settled = await activity_calls.database_step(JobActivities.settle, job)
        self._spent_nano_usd = settled.execution_spent_nano_usd
        return settled

    async def _reuse(self, step: Step, job: JobRef) -> None:
        """Use a step that an earlier generation paid for.

        A file that is not in our storage is stored first: its URL at the provider may have expired
        before the next step needs it.
        """
        self._show(step, JobState.COMPLETED)
        if not self._jobs[step.name].stored:
            await self._store(step, job)

    async def _submit(
        self, step: Step, job: JobRef, refusal: Failure | None
    ) -> SubmitJobResult | None:
        """Submit until the provider certainly has the job, or certainly never will (None).

        A send that may have been accepted is looked up and never sent again.
        """
        tries = 0
        while not self._stopped:
            self._show(step, JobState.SUBMITTING)
            result = await activity_calls.submit(step, job, own_key=self._jobs[step.name].own_key)
            if result.outcome is not SubmitOutcome.SUBMITTED:
                self._store_waiting_files()
            if result.outcome is SubmitOutcome.UNKNOWN:
                self._show(step, JobState.UNKNOWN)
                lookup = await activity_calls.find(step, job)
                result = SubmitJobResult(
                    outcome=_AFTER_FIND[lookup.outcome],
                    failure=lookup.failure,
                    send_number=lookup.send_number,
                )
            if result.outcome in (SubmitOutcome.SUBMITTED, SubmitOutcome.ENDED):
                self._send_numbers[step.name] = result.send_number
                return result
            if result.outcome is not SubmitOutcome.NOT_SENT:
                self._note_failure(step, result.failure)
                return None
            refusal = result.failure or refusal
            if result.own_key is not None:
                known = self._jobs[step.name]
                self._jobs[step.name] = replace(known, own_key=result.own_key)
            if result.held_back:  # deferred, not tried: its pauses do not grow
                backoff = max(policies.DEFERRED_MIN_SECONDS, result.retry_after_seconds / 4)
            else:
                tries += 1
                backoff = policies.backoff_seconds(policies.SUBMIT_BACKOFF_SECONDS, tries)
            await self._pause(
                policies.spread_seconds(
                    result.retry_after_seconds, backoff, workflow.random().random()
                )
            )
        self._show(step, JobState.WAITING)
        if self._cancel_reason == FailureCode.DEADLINE_EXCEEDED:
            # The reason why it was never sent is more useful than the deadline.
            self._note_failure(step, refusal)
        return None

    async def _wait(self, step: Step, job: JobRef) -> WaitJobResult:
        """Wait until the provider has ended the job.

        Past its deadline or after a cancel, cancel it at the provider and wait for a grace period.
        """
        watching = asyncio.create_task(self._watch(step, job))
        await workflow.wait_condition(lambda: watching.done() or self._cancelled)
        if watching.done() and watching.result().state.ended:
            return watching.result()
        self._store_waiting_files()
        if self._committing_cancel is not None:
            # Settling distinguishes a cancel from a time-out by the execution's row.
            await self._committing_cancel
        await activity_calls.cancel(step, job, own_key=self._jobs[step.name].own_key)
        if watching.done() and not watching.result().state.ended:
            watching = asyncio.create_task(self._watch(step, job, after_cancel=True))
        return await watching

    async def _watch(self, step: Step, job: JobRef, *, after_cancel: bool = False) -> WaitJobResult:
        activity_id = None
        if self._path >= 1 or workflow.patched("wait-completed-by-id"):
            send_number = self._send_numbers[step.name]
            activity_id = policies.wait_activity_id(
                job.job_id, send_number, after_cancel=after_cancel
            )
        return await activity_calls.wait(step, job, activity_id=activity_id)

    def _store_waiting_files(self) -> None:
        """Begin to store every file that waits, with the newest in the lead.

        Without a file of a later step, if that step is long in coming or never comes.
        """
        if self._unstored:
            step, job = self._unstored.pop()
            self._storing.append(asyncio.create_task(self._store(step, job, *self._unstored)))
            self._unstored = []

    async def _store(
        self,
        step: Step,
        job: JobRef,
        *others: tuple[Step, JobRef],
        within: timedelta = policies.STORE_SCHEDULE_TO_CLOSE,
    ) -> None:
        """Copy the step's files into object storage, and those of other steps in the same call.

        A lost intermediate file does not affect the result; a lost result is a failure. What the
        call leaves out, because it needs another try or the worker is older, gets its own.
        """
        began = workflow.now()
        more_jobs = tuple(other.job_id for _, other in others)
        names = ", ".join([step.name, *(other.name for other, _ in others)])
        stored = await activity_calls.store(
            replace(job, more_jobs=more_jobs), names=names, within=within
        )
        if step.name == self._order.plan.result_step:
            self._note_failure(step, stored.failure)
        rest = max(within - (workflow.now() - began), policies.STORED_LATER_MIN)
        left_out = [other for other in others if other[1].job_id not in stored.more_jobs]
        await asyncio.gather(*(self._store(*other, within=rest) for other in left_out))

    async def _finish(self) -> ExecutionOutcome:
        """End the execution: final state, released hold and webhook event in one transaction."""
        if self._failure is not None:
            status, failure = ExecutionStatus.FAILED, self._failure
        elif self._states[self._order.plan.result_step] is JobState.COMPLETED:
            status, failure = ExecutionStatus.COMPLETED, None
        elif self._cancel_reason == FailureCode.DEADLINE_EXCEEDED:  # set by the reconciler alone
            status, failure = ExecutionStatus.FAILED, Failure.of(FailureCode.DEADLINE_EXCEEDED)
        else:
            status, failure = ExecutionStatus.CANCELLED, Failure.of(FailureCode.CANCELLED)
        outcome = await activity_calls.database_step(
            ExecutionActivities.finish,
            FinishInput(execution=self._ref, status=status, failure=failure, attempts_webhook=True),
        )
        self._spent_nano_usd = outcome.spent_nano_usd
        _upsert(
            [
                STATUS.value_set(outcome.status or status),
                # For filters; the ledger is exact.
                COST_USD.value_set(outcome.spent_nano_usd / NANO_PER_USD),
            ]
        )
        self._describe(outcome.status or status)
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

    @property
    def _cancelled(self) -> bool:
        return self._cancel_reason is not None

    @property
    def _stopped(self) -> bool:
        """Return whether no new job may be sent."""
        return self._cancelled or self._failure is not None

    def _note_failure(self, step: Step, failure: Failure | None) -> None:
        if failure is None:
            return
        self._show(step, JobState.FAILED)
        by_user = self._cancelled and self._cancel_reason != FailureCode.DEADLINE_EXCEEDED
        if by_user and failure.code is FailureCode.SUBMISSION_UNKNOWN:
            return  # the cancel ended the search early; the bill stays open either way
        if step.on_failure is OnFailure.STOP or step.name == self._order.plan.result_step:
            self._failure = self._failure or failure

    async def _pause(self, seconds: float) -> None:
        """Sleep, or return early when a cancel arrives."""
        try:
            await workflow.wait_condition(
                lambda: self._cancelled, timeout=seconds, timeout_summary="before the next try"
            )
        except TimeoutError:
            return

    def _job_ref(self, step: Step) -> JobRef:
        return JobRef(
            user_id=self._order.user_id,
            execution_id=self._order.execution_id,
            job_id=self._jobs[step.name].job_id,
            generation=self._order.generation,
        )

    def _show(self, step: Step, state: JobState) -> None:
        self._states[step.name] = state
        self._describe(ExecutionStatus.RUNNING)

    def _describe(self, status: ExecutionStatus) -> None:
        """Set the details that the Temporal Web UI shows while the workflow runs and afterwards."""
        lines = [
            f"**{status}**, spent so far: **${usd_text(self._spent_nano_usd)}**",
            *(
                f"- {step.name}: {self._states[step.name]} ({step.provider}, {step.model})"
                for step in self._order.plan.steps
            ),
        ]
        if self._cancel_reason is not None:
            lines.append(f"\nCancel asked for: {self._cancel_reason}")
        if self._failure is not None:
            lines.append(f"\n{self._failure.code}: {self._failure.message}")
        workflow.set_current_details("\n".join(lines))


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


_AFTER_FIND: Final = MappingProxyType(
    {
        FindOutcome.FOUND: SubmitOutcome.SUBMITTED,
        FindOutcome.ABSENT: SubmitOutcome.NOT_SENT,
        FindOutcome.ENDED: SubmitOutcome.ENDED,
        FindOutcome.GIVEN_UP: SubmitOutcome.REFUSED,
    }
)
