"""An approval step of a run: it waits for a decision of the user, and costs nothing meanwhile."""

from temporalio import workflow

from workflows import activity_calls
from workflows.run_state import RunState
from workflows.stored_files import StoredFiles

with workflow.unsafe.imports_passed_through():
    from activities.approvals import ApprovalActivities
    from core.domain.failures import Failure
    from core.domain.messages.approvals import ApprovalOrder, ApprovalResult
    from core.domain.plans import Step
    from core.domain.states import JobState


class Approvals:
    """Waits for the decisions of a run. The rows have them; a signal only ends the wait."""

    def __init__(self, state: RunState, files: StoredFiles) -> None:
        self._state = state
        self._files = files
        self._signalled: set[str] = set()

    def note_decision(self, step: str) -> None:
        """Look at the row of a step, whose decision is committed."""
        self._signalled.add(step)

    async def run_step(self, step: Step) -> None:
        """Open the approval once its options are stored, and wait until it has ended."""
        state = self._state
        is_decided = state.jobs[step.name].state is JobState.COMPLETED
        if state.stopped or not (is_decided or state.may_begin(step)):
            return
        needs = [need for need in step.needs if state.states[need] is JobState.COMPLETED]
        loss = await self._files.wait_for(needs)
        state.waiting.add(step.name)
        result = await self._decision(step, loss)
        state.waiting.discard(step.name)
        if result.failure is not None:
            state.note_failure(step, result.failure)
        state.show(step, result.state)

    async def _decision(self, step: Step, loss: Failure | None) -> ApprovalResult:
        """Look at the row until it has ended: at first, after a signal, and at its last moment."""
        state = self._state
        while not state.stopped:
            is_idle = state.is_idle
            self._signalled.discard(step.name)
            order = ApprovalOrder(job=state.job_ref(step), input_failure=loss, is_idle=is_idle)
            result = await activity_calls.database_step(ApprovalActivities.look, order)
            if result.state is not JobState.WAITING:
                state.is_paused = False
                return result
            state.is_paused = state.is_paused or is_idle
            state.show(step, JobState.WAITING)
            await self._wait(step, result.seconds_left)
        return ApprovalResult(state=JobState.WAITING)

    async def _wait(self, step: Step, seconds: float) -> None:
        """Wait for a reason to look again: also that nothing else of the run continues now."""
        state = self._state
        try:
            await workflow.wait_condition(
                lambda: (
                    state.stopped
                    or step.name in self._signalled
                    or (state.is_idle and not state.is_paused)
                ),
                timeout=seconds,
                timeout_summary=f"{step.name}: expires",
            )
        except TimeoutError:
            return
