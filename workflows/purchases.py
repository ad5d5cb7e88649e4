"""The purchase of one step: submit, wait and settle, until its job has ended."""

import asyncio
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from temporalio import workflow

from workflows import activity_calls
from workflows.run_state import RunState
from workflows.stored_files import StoredFiles

with workflow.unsafe.imports_passed_through():
    from activities.jobs import JobActivities
    from core.domain.failures import Failure, FailureCode
    from core.domain.messages.executions import StepJob
    from core.domain.messages.jobs import (
        FindOutcome,
        JobRef,
        ReuseOrder,
        SettleJobResult,
        SubmitJobResult,
        SubmitOutcome,
        WaitJobResult,
    )
    from core.domain.plans import Step
    from core.domain.states import JobState
    from core.platform.temporal import policies


class Purchases:
    """Buys the steps of a run, each at most once."""

    def __init__(self, state: RunState, files: StoredFiles) -> None:
        self._state = state
        self._files = files
        self._send_numbers: dict[str, int] = {}

    async def run_step(self, step: Step) -> None:
        """Buy one step: submit, wait, settle. Its files are stored alongside the next steps."""
        if self._state.stopped or not self._state.may_begin(step):
            return
        step, job = self._at_model(step), self._state.job_ref(step)
        if self._state.jobs[step.name].state is JobState.COMPLETED:
            await self._reuse(step, job)
            return
        settled = await self._buy(step, job)
        while settled is not None and (settled.resend or self._turns(step, settled)):
            self._files.store_waiting()
            step, job = self._at_model(step), self._state.job_ref(step)
            self._state.show(step, JobState.WAITING)
            if settled.resend:
                pauses = policies.TRANSIENT_BACKOFF_SECONDS
                backoff = policies.backoff_seconds(pauses, settled.resend)
                await self._state.pause(
                    policies.spread_seconds(0.0, backoff, workflow.random().random())
                )
            settled = await self._buy(step, job, settled.failure)
        if settled is None:
            return
        self._state.show(step, settled.state)
        if settled.state is JobState.COMPLETED:
            self._files.keep(step, job)
            waits = self._state.path >= 2 and step.stored_with_next
            if not waits or self._state.is_read_from_storage(step):
                self._files.store_waiting()
        elif settled.failure is not None and settled.failure.code is not FailureCode.CANCELLED:
            # A job that the user cancelled did not fail.
            self._state.note_failure(step, settled.failure)

    def _turns(self, step: Step, settled: SettleJobResult) -> bool:
        """Return whether the step continues at its next model, after a job that cost nothing."""
        following = settled.next_job
        if following is None or self._state.path < 3:
            return False
        self._state.jobs[step.name] = StepJob(
            step=step.name,
            job_id=following.job_id,
            own_key=following.own_key,
            provider=following.provider,
            model=following.model,
        )
        return True

    def _at_model(self, step: Step) -> Step:
        """Return the step with the provider and the model of its present job."""
        job = self._state.jobs[step.name]
        if job.provider:
            step = replace(step, provider=job.provider, model=job.model)
        self._state.steps[step.name] = step
        return step

    async def _buy(
        self, step: Step, job: JobRef, refusal: Failure | None = None
    ) -> SettleJobResult | None:
        """Submit a job, wait for its end and settle it; None: it was not submitted.

        refusal: why the job's last send did not produce a file.
        """
        if self._state.path >= 6 and step.reuse:
            reused = await self._reuse_purchase(step, job)
            if reused is not None:
                return reused
        submitted = await self._submit(step, job, refusal)
        if submitted is None:
            return None
        settled = submitted.settled
        if settled is None:
            self._state.show(step, JobState.SUBMITTED)
            settled = (await self._wait(step, job)).settled
        if settled is None or self._state.path == 0:  # a run that an earlier version may continue
            settled = await activity_calls.database_step(JobActivities.settle, job)
        self._state.spent_nano_usd = settled.execution_spent_nano_usd
        return settled

    async def _reuse_purchase(self, step: Step, job: JobRef) -> SettleJobResult | None:
        """Use the files of an earlier purchase of the same; None: the step must be bought.

        A purchase that another job is making is awaited. Whether it is the same depends on the
        bytes of the files that the step needs, so these are stored first.
        """
        self._files.store_waiting()
        completed = [need for need in step.needs if self._state.states[need] is JobState.COMPLETED]
        await self._files.wait_for(completed)
        tries = 0
        while not self._state.stopped:
            claim = await activity_calls.database_step(JobActivities.claim_purchase, job)
            if claim.source is not None:
                order = ReuseOrder(job=job, source=claim.source)
                settled = await activity_calls.reuse(step, order)
                if settled is not None:
                    self._state.spent_nano_usd = settled.execution_spent_nano_usd
                    return settled
            elif not claim.is_busy:
                return None
            tries += 1
            backoff = policies.backoff_seconds(policies.SAME_CONTENT_BACKOFF_SECONDS, tries)
            await self._state.pause(
                policies.spread_seconds(0.0, backoff, workflow.random().random())
            )
        return None

    async def _reuse(self, step: Step, job: JobRef) -> None:
        """Use a step that an earlier generation paid for.

        A file that is not in our storage is stored first: its URL at the provider may have expired
        before the next step needs it.
        """
        self._state.show(step, JobState.COMPLETED)
        if self._state.jobs[step.name].stored:
            self._files.note_stored(step)
        else:
            await self._files.store(step, job)

    async def _submit(
        self, step: Step, job: JobRef, refusal: Failure | None
    ) -> SubmitJobResult | None:
        """Submit until the provider certainly has the job, or certainly never will (None).

        A send that may have been accepted is looked up and never sent again.
        """
        tries = 0
        while not self._state.stopped:
            self._state.show(step, JobState.SUBMITTING)
            inputs_are_final = self._files.none_in_progress
            result = await activity_calls.submit(
                step, job, own_key=self._state.jobs[step.name].own_key
            )
            if result.outcome is not SubmitOutcome.SUBMITTED:
                self._files.store_waiting()
            if result.outcome is SubmitOutcome.UNKNOWN:
                self._state.show(step, JobState.UNKNOWN)
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
                self._state.note_failure(step, result.failure)
                return None
            refusal = result.failure or refusal
            if self._state.path >= 4 and inputs_are_final and _lacks_a_file(result):
                self._state.note_failure(step, self._files.loss(step.needs) or refusal)
                return None
            if result.own_key is not None:
                known = self._state.jobs[step.name]
                self._state.jobs[step.name] = replace(known, own_key=result.own_key)
            if result.held_back:  # deferred, not tried: its pauses do not grow
                backoff = max(policies.DEFERRED_MIN_SECONDS, result.retry_after_seconds / 4)
            else:
                tries += 1
                backoff = policies.backoff_seconds(policies.SUBMIT_BACKOFF_SECONDS, tries)
            await self._state.pause(
                policies.spread_seconds(
                    result.retry_after_seconds, backoff, workflow.random().random()
                )
            )
        self._state.show(step, JobState.WAITING)
        if self._state.cancel_reason == FailureCode.DEADLINE_EXCEEDED:
            # The reason why it was never sent is more useful than the deadline.
            self._state.note_failure(step, refusal)
        return None

    async def _wait(self, step: Step, job: JobRef) -> WaitJobResult:
        """Wait until the provider has ended the job.

        Past its deadline or after a cancel, cancel it at the provider and wait for a grace period.
        """
        watching = asyncio.create_task(self._watch(step, job))
        await workflow.wait_condition(lambda: watching.done() or self._state.cancelled)
        if watching.done() and watching.result().state.ended:
            return watching.result()
        self._files.store_waiting()
        if self._state.committing_cancel is not None:
            # Settling distinguishes a cancel from a time-out by the execution's row.
            await self._state.committing_cancel
        await activity_calls.cancel(step, job, own_key=self._state.jobs[step.name].own_key)
        if watching.done() and not watching.result().state.ended:
            watching = asyncio.create_task(self._watch(step, job, after_cancel=True))
        return await watching

    async def _watch(self, step: Step, job: JobRef, *, after_cancel: bool = False) -> WaitJobResult:
        activity_id = None
        if self._state.path >= 1 or workflow.patched("wait-completed-by-id"):
            send_number = self._send_numbers[step.name]
            activity_id = policies.wait_activity_id(
                job.job_id, send_number, after_cancel=after_cancel
            )
        return await activity_calls.wait(step, job, activity_id=activity_id)


def _lacks_a_file(result: SubmitJobResult) -> bool:
    """Return whether a job was not sent because the file of another step was not stored."""
    code = result.failure.code if result.failure is not None else None
    return result.outcome is SubmitOutcome.NOT_SENT and code is FailureCode.STORAGE_UNAVAILABLE


_AFTER_FIND: Final = MappingProxyType(
    {
        FindOutcome.FOUND: SubmitOutcome.SUBMITTED,
        FindOutcome.ABSENT: SubmitOutcome.NOT_SENT,
        FindOutcome.ENDED: SubmitOutcome.ENDED,
        FindOutcome.GIVEN_UP: SubmitOutcome.REFUSED,
    }
)
