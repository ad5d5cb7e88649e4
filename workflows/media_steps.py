"""A media step of a run: it waits for stored files, runs on the media queue, and costs nothing."""

from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from workflows import activity_calls
from workflows.run_state import RunState
from workflows.stored_files import StoredFiles

with workflow.unsafe.imports_passed_through():
    from activities.media import MediaActivities
    from core.domain.failures import Failure, FailureCode
    from core.domain.messages.media import MediaFailure, MediaOrder, MediaResult
    from core.domain.plans import Step
    from core.domain.states import JobState
    from core.platform.temporal import policies


_CODES: Final = frozenset(code.value for code in FailureCode)


class MediaSteps:
    """Runs the media steps of a run, each until its files are stored."""

    def __init__(self, state: RunState, files: StoredFiles) -> None:
        self._state = state
        self._files = files

    async def run_step(self, step: Step) -> None:
        """Run one step once the files that it needs are stored."""
        state = self._state
        if state.stopped or not state.may_begin(step):
            return
        job = state.jobs[step.name]
        if job.state is JobState.COMPLETED and job.stored:
            state.show(step, JobState.COMPLETED)
            return
        needs = [need for need in step.needs if state.states[need] is JobState.COMPLETED]
        order = MediaOrder(
            job=state.job_ref(step),
            is_final=state.is_published(step),
            input_failure=await self._files.wait_for(needs),
            makes=step.makes,
        )
        result = await self._run(step, order)
        state.show(step, result.state)
        if result.state is JobState.FAILED:
            state.note_failure(step, result.failure)

    async def _run(self, step: Step, order: MediaOrder) -> MediaResult:
        """Run the job until it has ended, with pauses while another job makes the same files."""
        tries = 0
        while not self._state.stopped:
            self._state.show(step, JobState.SUBMITTED)
            result = await self._try(step, order)
            if result.state is not JobState.WAITING:
                return result
            tries += 1
            backoff = policies.backoff_seconds(policies.SAME_CONTENT_BACKOFF_SECONDS, tries)
            await self._state.pause(
                policies.spread_seconds(0.0, backoff, workflow.random().random())
            )
        return MediaResult(state=JobState.WAITING)

    async def _try(self, step: Step, order: MediaOrder) -> MediaResult:
        """Run the activity; a cancel of the execution ends it, with every process that it started.

        The activity's own retries outlast a killed worker. If they are exhausted, the job has
        failed.
        """
        running = activity_calls.run_media_job(step, order)
        await workflow.wait_condition(lambda: running.done() or self._state.cancelled)
        if not running.done():
            running.cancel()
        try:
            return await running
        except ActivityError as error:
            if is_cancelled_exception(error):
                return MediaResult(state=JobState.CANCELLED)
            failure = _failure_of(error)
        await activity_calls.database_step(
            MediaActivities.fail, MediaFailure(job=order.job, failure=failure)
        )
        return MediaResult(state=JobState.FAILED, failure=failure)


def _failure_of(error: ActivityError) -> Failure:
    """Return the failure of the last try, or that no try has ended."""
    cause = error.cause
    if isinstance(cause, ApplicationError) and cause.type in _CODES:
        return Failure(code=FailureCode(cause.type), message=cause.message)
    return Failure.of(
        FailureCode.INTERNAL_ERROR, "No worker finished this media step. A retry costs nothing."
    )
