"""The state of one run of an execution, which its steps share."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from core.domain.failures import Failure, FailureCode
    from core.domain.messages.executions import (
        CURRENT_PATH,
        ExecutionOrder,
        ExecutionRef,
        StepJob,
    )
    from core.domain.messages.jobs import JobRef
    from core.domain.money import usd_text
    from core.domain.plans import OnFailure, Step
    from core.domain.states import ExecutionStatus, JobState


class RunState:
    """The jobs and states of the steps, the first failure that stops the plan, and the cancel.

    steps: each at the provider and the model of its present job. path: see CURRENT_PATH.
    committing_cancel: writes a native cancel to the execution's row. failure: ends the plan.
    first_failure: of any step, also of one after which the plan continues. ended: steps that do
    nothing more. waiting: approval steps without a decision. is_paused: the execution has given up
    its slot until a decision.
    """

    def __init__(self, order: ExecutionOrder) -> None:
        self.order = order
        self.ref = ExecutionRef(
            user_id=order.user_id,
            execution_id=order.execution_id,
            generation=order.generation,
            type=order.plan.type,
        )
        self.path = CURRENT_PATH
        self.jobs: dict[str, StepJob] = {}
        self.steps = {step.name: step for step in order.plan.steps}
        self.states = {step.name: JobState.WAITING for step in order.plan.steps}
        self.cancel_reason: str | None = None
        self.committing_cancel: asyncio.Task[None] | None = None
        self.failure: Failure | None = None
        self.first_failure: Failure | None = None
        self.spent_nano_usd = 0
        self.ended: set[str] = set()
        self.waiting: set[str] = set()
        self.is_paused = False

    @property
    def cancelled(self) -> bool:
        return self.cancel_reason is not None

    @property
    def stopped(self) -> bool:
        """Return whether no new job may be sent."""
        return self.cancelled or self.failure is not None

    def may_begin(self, step: Step) -> bool:
        """Return whether every step that this one needs has completed, the optional ones aside."""
        return all(
            self.states[need] is JobState.COMPLETED
            for need in step.needs
            if need not in step.optional_needs
        )

    @property
    def is_idle(self) -> bool:
        """Return whether no step can continue without a decision of the user."""
        return all(
            step.name in self.ended
            or step.name in self.waiting
            or not self.ended.issuperset(step.needs)
            for step in self.order.plan.steps
        )

    def is_left(self, step: Step) -> bool:
        """Return whether a retry leaves the step: it failed, and its decisions are made without it.

        Such a step is an option, or only options that are left need it.
        """
        job, plan = self.jobs.get(step.name), self.order.plan
        if job is None:  # cancelled before the execution was claimed
            return False
        users = [other for other in plan.steps if step.name in other.needs]
        return (
            job.state in (JobState.FAILED, JobState.CANCELLED)
            and not self._is_result(step)
            and bool(users)
            and all(
                self.is_left(user)
                or (user.is_approval and self.jobs[user.name].state is JobState.COMPLETED)
                for user in users
            )
        )

    def _is_result(self, step: Step) -> bool:
        plan = self.order.plan
        return step.name in {plan.result_step, *(item.step for item in plan.outputs.values())}

    def is_published(self, step: Step) -> bool:
        """Return whether users receive the step's files as a result of the plan.

        Of an approval step, these are the files of any of its options.
        """
        plan = self.order.plan
        published = {item.name for item in plan.steps if self._is_result(item)}
        for other in reversed(plan.steps):
            if other.is_approval and other.name in published:
                published.update(other.needs)
        return step.name in published

    def is_read_from_storage(self, step: Step) -> bool:
        """Return whether a free step needs the files of this step in our storage."""
        return any(other.is_free and step.name in other.needs for other in self.order.plan.steps)

    def note_failure(self, step: Step, failure: Failure | None) -> None:
        if failure is None:
            return
        self.show(step, JobState.FAILED)
        self.first_failure = self.first_failure or failure
        by_user = self.cancelled and self.cancel_reason != FailureCode.DEADLINE_EXCEEDED
        if by_user and failure.code is FailureCode.SUBMISSION_UNKNOWN:
            return  # the cancel ended the search early; the bill stays open either way
        if step.on_failure is OnFailure.STOP or step.name == self.order.plan.result_step:
            self.failure = self.failure or failure

    async def pause(self, seconds: float) -> None:
        """Sleep, or return early when a cancel arrives."""
        try:
            await workflow.wait_condition(
                lambda: self.cancelled, timeout=seconds, timeout_summary="before the next try"
            )
        except TimeoutError:
            return

    def job_ref(self, step: Step) -> JobRef:
        return JobRef(
            user_id=self.order.user_id,
            execution_id=self.order.execution_id,
            job_id=self.jobs[step.name].job_id,
            generation=self.order.generation,
        )

    def show(self, step: Step, state: JobState) -> None:
        self.states[step.name] = state
        self.describe(ExecutionStatus.RUNNING)

    def describe(self, status: ExecutionStatus) -> None:
        """Set the details that the Temporal Web UI shows while the workflow runs and afterwards."""
        lines = [
            f"**{status}**, spent so far: **${usd_text(self.spent_nano_usd)}**",
            *(
                f"- {step.name}: {self.states[step.name]} ({step.provider}, {step.model})"
                for step in self.steps.values()
            ),
            *(f"\nWaits for a decision: {name}" for name in sorted(self.waiting)),
        ]
        if self.cancel_reason is not None:
            lines.append(f"\nCancel asked for: {self.cancel_reason}")
        if self.failure is not None:
            lines.append(f"\n{self.failure.code}: {self.failure.message}")
        workflow.set_current_details("\n".join(lines))
