"""One request, from its first paid call to its webhook. Decisions and waiting; nothing else."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.assets import AssetActivities
    from activities.executions import ExecutionActivities
    from activities.jobs import JobActivities
    from core.domain.failures import Failure, FailureCode
    from core.domain.messages.assets import StoreAssetResult
    from core.domain.messages.executions import (
        CancelInput,
        ClaimOutcome,
        ExecutionOrder,
        ExecutionOutcome,
        ExecutionRef,
        FinishInput,
        StepJob,
    )
    from core.domain.messages.jobs import (
        FindJobResult,
        FindOutcome,
        JobRef,
        SubmitJobResult,
        SubmitOutcome,
        WaitJobResult,
    )
    from core.domain.money import NANO_PER_USD, usd_text
    from core.domain.plans import OnFailure, Step
    from core.domain.states import ExecutionStatus, JobState
    from core.platform.temporal import policies
    from core.platform.temporal.search_attributes import COST_USD, STATUS

Message = TypeVar("Message")
Result = TypeVar("Result")


@workflow.defn(name="execution")
class ExecutionWorkflow:
    """Every job of a plan, each paid once; then its files, or its money back. Never both, never
    neither.
    """

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
        self._failure: Failure | None = None
        self._spent_nano_usd = 0
        self._storing: list[asyncio.Task[None]] = []
        self._committing_cancel: asyncio.Task[None] | None = None

    @workflow.signal(description="A cancel was asked for, and is committed in the execution's row.")
    def cancel_requested(self, reason: str, generation: int = 0) -> None:
        """generation: the one that is meant, 0 any: what was ordered before a retry does not cancel
        the retry.
        """
        if generation in (0, self._order.generation):
            self._cancel_reason = self._cancel_reason or reason

    @workflow.run
    async def run(self, order: ExecutionOrder) -> ExecutionOutcome:
        cancelled_natively, claimed = await self._hold(
            self._database_step(ExecutionActivities.claim, self._ref)
        )
        if claimed.outcome is ClaimOutcome.LOST or (
            claimed.outcome is ClaimOutcome.WAITING and not self._cancelled
        ):
            return ExecutionOutcome(
                status=None
            )  # it waits for room in its row alone: another run is started then
        if claimed.outcome is ClaimOutcome.CANCELLED:
            self._cancel_reason = self._cancel_reason or "cancelled before it started"
        self._jobs = {item.step: item for item in claimed.jobs}
        _upsert([STATUS.value_set(ExecutionStatus.RUNNING)])
        native, _ = await self._hold(self._walk())
        cancelled_natively |= native
        native, outcome = await self._hold(self._finish())
        cancelled_natively |= native
        if cancelled_natively and outcome.status is ExecutionStatus.CANCELLED:
            raise asyncio.CancelledError(
                self._cancel_reason
            )  # ordered in the Web UI: there it shows as Canceled
        return outcome

    async def _hold(self, work: Awaitable[Result]) -> tuple[bool, Result]:
        """Wait for work to be done whatever is ordered meanwhile.

        True if a native cancel came; it is kept as the same order.

        Awaiting the work directly would pass the cancel into it, and could lose the id of something
        paid.
        """
        task = asyncio.ensure_future(work)
        native = False
        while not task.done():
            try:
                await workflow.wait([task])
            except asyncio.CancelledError:
                native = True
                self._cancel_reason = (
                    self._cancel_reason
                    or workflow.cancellation_reason()
                    or "cancelled by an operator"
                )
                # In the row too, like the API does it, so that no send begins from here on.
                self._committing_cancel = asyncio.create_task(
                    self._commit_cancel(self._cancel_reason)
                )
        return native, task.result()

    async def _commit_cancel(self, reason: str) -> None:
        await self._database_step(
            ExecutionActivities.cancel, CancelInput(execution=self._ref, reason=reason)
        )

    async def _walk(self) -> None:
        """Every step as soon as its needs are met, in parallel; then what is still being stored."""
        done = {step.name: asyncio.Event() for step in self._order.plan.steps}

        async def follow(step: Step) -> None:
            for need in step.needs:
                await done[need].wait()
            await self._run_step(step)
            done[step.name].set()

        await asyncio.gather(*(follow(step) for step in self._order.plan.steps))
        await asyncio.gather(*self._storing)
        if self._committing_cancel is not None:
            await self._committing_cancel

    async def _run_step(self, step: Step) -> None:
        """Buy one step: submit, wait, settle; then store its files beside the steps that follow."""
        if self._stopped or any(
            self._states[need] is not JobState.COMPLETED for need in step.needs
        ):
            return
        job = self._job_ref(step)
        if self._jobs[step.name].state is JobState.COMPLETED:
            await self._keep(step, job)
            return
        if not await self._submit(step, job):
            return
        self._show(step, JobState.SUBMITTED)
        await self._wait(step, job)
        settled = await self._database_step(JobActivities.settle, job)
        self._spent_nano_usd = settled.execution_spent_nano_usd
        self._show(step, settled.state)
        if settled.state is JobState.COMPLETED:
            self._storing.append(asyncio.create_task(self._store(step, job)))
        elif settled.failure is not None and settled.failure.code is not FailureCode.CANCELLED:
            self._note_failure(
                step, settled.failure
            )  # a job that was ended because we were told to has not failed

    async def _keep(self, step: Step, job: JobRef) -> None:
        """What was paid for before this run began is used. Its file, if we don't hold it, comes
        first: the address at its provider may be too old for the step that needs it.
        """
        self._show(step, JobState.COMPLETED)
        if not self._jobs[step.name].stored:
            await self._store(step, job)

    async def _submit(self, step: Step, job: JobRef) -> bool:
        """Until the provider certainly has the job (True) or certainly never will (False).

        Never re-sends what may be accepted.
        """
        tries = 0
        refusal: Failure | None = None
        while not self._stopped:
            self._show(step, JobState.SUBMITTING)
            answer = await self._try_submit(step, job)
            if answer.outcome is SubmitOutcome.UNKNOWN:
                self._show(step, JobState.UNKNOWN)
                found = await self._find(step, job)
                answer = SubmitJobResult(outcome=_AFTER_FIND[found.outcome], failure=found.failure)
            if answer.outcome in (SubmitOutcome.SUBMITTED, SubmitOutcome.ENDED):
                return True
            if answer.outcome is not SubmitOutcome.NOT_SENT:
                self._note_failure(step, answer.failure)
                return False
            refusal = answer.failure or refusal
            if answer.held_back:  # it was not tried, so it need not try less often
                backoff = max(policies.HELD_BACK_SECONDS, answer.retry_after_seconds / 4)
            else:
                tries += 1
                backoff = policies.backoff_seconds(policies.SUBMIT_BACKOFF_SECONDS, tries)
            await self._pause(_spread_seconds(answer.retry_after_seconds, backoff))
        self._show(step, JobState.WAITING)
        if self._cancel_reason == FailureCode.DEADLINE_EXCEEDED:
            self._note_failure(
                step, refusal
            )  # why it was never sent says more than that time is over
        return False

    async def _try_submit(self, step: Step, job: JobRef) -> SubmitJobResult:
        try:
            return await workflow.execute_activity_method(
                JobActivities.submit,
                job,
                task_queue=policies.submit_queue(step.provider),
                retry_policy=policies.ONCE,
                start_to_close_timeout=policies.SUBMIT_START_TO_CLOSE,
                heartbeat_timeout=policies.HEARTBEAT,
                schedule_to_close_timeout=timedelta(seconds=step.deadline_seconds),
                priority=policies.CONTINUING if step.needs else policies.BEGINNING,
                summary=f"{step.name}: {step.model}, sent at most once",
            )
        except ActivityError:
            # A lost worker, a time-out, a database that went away: nobody here knows whether it was
            # sent. The row does.
            return SubmitJobResult(outcome=SubmitOutcome.UNKNOWN)

    async def _find(self, step: Step, job: JobRef) -> FindJobResult:
        return await workflow.execute_activity_method(
            JobActivities.find,
            job,
            task_queue=policies.WAIT_QUEUE,
            retry_policy=policies.NETWORK,
            start_to_close_timeout=_watch_limit(step),
            heartbeat_timeout=policies.HEARTBEAT,
            summary=f"{step.name}: was it accepted?",
        )

    async def _wait(self, step: Step, job: JobRef) -> None:
        """Until the provider has ended the job.

        Past its deadline, or cancelled, it is asked to, and watched a little longer.
        """
        watching = asyncio.create_task(self._watch(step, job))
        await workflow.wait_condition(lambda: watching.done() or self._cancelled)
        if watching.done() and watching.result().state.ended:
            return
        if self._committing_cancel is not None:
            await self._committing_cancel  # settling tells a cancel from a time-out by the row
        await self._cancel_at_provider(step, job)
        if watching.done() and not watching.result().state.ended:
            watching = asyncio.create_task(self._watch(step, job))
        await watching

    async def _watch(self, step: Step, job: JobRef) -> WaitJobResult:
        return await workflow.execute_activity_method(
            JobActivities.wait,
            job,
            task_queue=policies.WAIT_QUEUE,
            retry_policy=policies.NETWORK,
            start_to_close_timeout=_watch_limit(step),
            heartbeat_timeout=policies.HEARTBEAT,
            summary=f"{step.name}: {step.provider} is working",
        )

    async def _cancel_at_provider(self, step: Step, job: JobRef) -> None:
        try:
            await workflow.execute_activity_method(
                JobActivities.cancel,
                job,
                task_queue=policies.submit_queue(step.provider),
                retry_policy=policies.NETWORK,
                start_to_close_timeout=policies.CANCEL_START_TO_CLOSE,
                schedule_to_close_timeout=policies.CANCEL_SCHEDULE_TO_CLOSE,
                priority=policies.FINISHING,
                summary=f"{step.name}: ask {step.provider} to end it",
            )
        except ActivityError:
            workflow.logger.warning("the provider could not be asked to end a job")

    async def _store(self, step: Step, job: JobRef) -> None:
        """Bring the step's file into our storage.

        A lost intermediate costs nobody the result; a lost result is a failure.
        """
        try:
            stored = await workflow.execute_activity_method(
                AssetActivities.store,
                job,
                task_queue=policies.ASSETS_QUEUE,
                retry_policy=policies.NETWORK,
                start_to_close_timeout=policies.STORE_START_TO_CLOSE,
                schedule_to_close_timeout=policies.STORE_SCHEDULE_TO_CLOSE,
                heartbeat_timeout=policies.HEARTBEAT,
                priority=policies.FINISHING,
                summary=f"{step.name}: to our storage",
            )
        except ActivityError:
            stored = StoreAssetResult(
                asset_id=None, failure=Failure.of(FailureCode.STORAGE_UNAVAILABLE)
            )
        if step.name == self._order.plan.result_step:
            self._note_failure(step, stored.failure)

    async def _finish(self) -> ExecutionOutcome:
        """The end state, the rest of the hold and the webhook event in one transaction; its
        delivery started.
        """
        if self._failure is not None:
            status, failure = ExecutionStatus.FAILED, self._failure
        elif self._states[self._order.plan.result_step] is JobState.COMPLETED:
            status, failure = ExecutionStatus.COMPLETED, None
        elif (
            self._cancel_reason == FailureCode.DEADLINE_EXCEEDED
        ):  # nobody but the sweep ordered it
            status, failure = ExecutionStatus.FAILED, Failure.of(FailureCode.DEADLINE_EXCEEDED)
        else:
            status, failure = ExecutionStatus.CANCELLED, Failure.of(FailureCode.CANCELLED)
        outcome = await self._database_step(
            ExecutionActivities.finish,
            FinishInput(execution=self._ref, status=status, failure=failure),
        )
        self._spent_nano_usd = outcome.spent_nano_usd
        _upsert(
            [
                STATUS.value_set(outcome.status or status),
                COST_USD.value_set(
                    outcome.spent_nano_usd / NANO_PER_USD
                ),  # to filter by; the ledger is exact
            ]
        )
        self._describe(outcome.status or status)
        return outcome

    @property
    def _cancelled(self) -> bool:
        return self._cancel_reason is not None

    @property
    def _stopped(self) -> bool:
        """No new submits."""
        return self._cancelled or self._failure is not None

    def _note_failure(self, step: Step, failure: Failure | None) -> None:
        if failure is None:
            return
        self._show(step, JobState.FAILED)
        ordered = self._cancelled and self._cancel_reason != FailureCode.DEADLINE_EXCEEDED
        if ordered and failure.code is FailureCode.SUBMISSION_UNKNOWN:
            return  # the search was cut short by the cancel; the bill stays open either way
        if step.on_failure is OnFailure.STOP or step.name == self._order.plan.result_step:
            self._failure = self._failure or failure

    async def _pause(self, seconds: float) -> None:
        """A pause that a cancel cuts short."""
        try:
            await workflow.wait_condition(
                lambda: self._cancelled, timeout=seconds, timeout_summary="before the next try"
            )
        except TimeoutError:
            return

    async def _database_step(
        self, activity: Callable[[Any, Message], Awaitable[Result]], message: Message
    ) -> Result:
        return await workflow.execute_local_activity_method(
            activity,
            message,
            retry_policy=policies.DATABASE,
            start_to_close_timeout=policies.DATABASE_STEP,
        )

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
        """What a person with only the Web UI sees while it runs, and after."""
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


def _spread_seconds(asked_seconds: float, backoff_seconds: float) -> float:
    """Never sooner than the provider asked; those that were turned away together do not come back
    together.
    """
    chance = workflow.random().random()
    return (
        asked_seconds + chance * backoff_seconds
        if asked_seconds
        else (0.5 + chance) * backoff_seconds
    )


_AFTER_FIND = {
    FindOutcome.FOUND: SubmitOutcome.SUBMITTED,
    FindOutcome.ABSENT: SubmitOutcome.NOT_SENT,
    FindOutcome.ENDED: SubmitOutcome.ENDED,
    FindOutcome.GIVEN_UP: SubmitOutcome.REFUSED,
}


def _watch_limit(step: Step) -> timedelta:
    return timedelta(seconds=step.deadline_seconds) + policies.CANCEL_GRACE + policies.WATCH_SLACK
