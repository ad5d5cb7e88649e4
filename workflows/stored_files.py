"""Files of completed steps: which of them wait to be stored, and which are being stored."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow

from workflows import activity_calls
from workflows.run_state import RunState

with workflow.unsafe.imports_passed_through():
    from core.domain.failures import Failure
    from core.domain.messages.jobs import JobRef
    from core.domain.plans import Step
    from core.platform.temporal import policies


class StoredFiles:
    """Copies the files of completed jobs into object storage, alongside the next steps."""

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._storing: list[asyncio.Task[None]] = []
        self._unstored: list[tuple[Step, JobRef]] = []
        self._stored: set[str] = set()
        self._lost: dict[str, Failure] = {}

    @property
    def none_in_progress(self) -> bool:
        """Return whether every file of a completed step is stored, or never will be."""
        return not self._unstored and all(task.done() for task in self._storing)

    def loss(self, names: Iterable[str]) -> Failure | None:
        """Return why the files of one of these steps will never be stored."""
        return next((self._lost[name] for name in names if name in self._lost), None)

    def keep(self, step: Step, job: JobRef) -> None:
        """Note a completed step; its files are stored with the next call."""
        self._unstored.append((step, job))

    def note_stored(self, step: Step) -> None:
        """Note that the files of a step are stored, or never will be."""
        self._stored.add(step.name)

    async def wait_for(self, steps: Sequence[str]) -> Failure | None:
        """Wait until the files of these steps are stored; return why one of them is lost."""
        names = [name for name in steps if not self._state.steps[name].is_free]
        await workflow.wait_condition(lambda: self._stored.issuperset(names))
        return self.loss(names)

    async def all_stored(self) -> None:
        """Store what waits, and wait for every call."""
        self.store_waiting()
        await asyncio.gather(*self._storing)

    def store_waiting(self) -> None:
        """Begin to store every file that waits, with the newest in the lead.

        Without a file of a later step, if that step is long in coming or never comes.
        """
        if self._unstored:
            step, job = self._unstored.pop()
            self._storing.append(asyncio.create_task(self.store(step, job, *self._unstored)))
            self._unstored = []

    async def store(
        self,
        step: Step,
        job: JobRef,
        *others: tuple[Step, JobRef],
        within: timedelta = policies.STORE_SCHEDULE_TO_CLOSE,
    ) -> None:
        """Copy the step's files into object storage, and those of other steps in the same call.

        A lost result is a failure. A lost intermediate file is one only for a step that cannot use
        the provider's address of it. What the call leaves out, because it needs another try or the
        worker is older, gets its own.
        """
        began = workflow.now()
        more_jobs = tuple(other.job_id for _, other in others)
        names = ", ".join([step.name, *(other.name for other, _ in others)])
        stored = await activity_calls.store(
            replace(job, more_jobs=more_jobs), names=names, within=within
        )
        if stored.failure is not None:
            self._lost[step.name] = stored.failure
        self.note_stored(step)
        for other, other_job in others:
            if other_job.job_id in stored.more_jobs:
                self.note_stored(other)
        if step.name == self._state.order.plan.result_step:
            self._state.note_failure(step, stored.failure)
        rest = max(within - (workflow.now() - began), policies.STORED_LATER_MIN)
        left_out = [other for other in others if other[1].job_id not in stored.more_jobs]
        await asyncio.gather(*(self.store(*other, within=rest) for other in left_out))
