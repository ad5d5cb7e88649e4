"""Recovery of a database that was restored from an older backup.

Executions are rebuilt from the memos of their workflows, jobs from workflow histories and from the
providers. Nothing is sent, so nothing is bought. Every execution that had not ended then runs once
more from its rows: it finds its jobs bought, and ends as it did before.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from core.domain.ids import ExecutionId, JobId
from core.domain.media.content import StorageRefusedError, StorageUnavailableError
from core.domain.messages.jobs import JobRef
from core.jobs.submission.submit import JobSubmitter
from core.maintenance.restores.detector import detect_restore
from core.maintenance.restores.histories import ExecutionHistories, NoMemoError, RecordedExecution
from core.maintenance.restores.job_recovery import JobRecovery
from core.platform.temporal.policies import SUBMITTING_SECONDS
from core.store.accounts.audit import record
from core.store.database import DATABASE_DOWN, SET_SYSTEM, Database
from core.store.files.job_files import JobFiles
from core.store.jobs.sends import count_in_flight
from core.store.recovery.rebuild import (
    LOCK_KEY,
    TRY_LOCK,
    get_last_send,
    raise_serials,
    renumber_last,
    requeue_execution,
)
from core.store.recovery.restore_marker import (
    MarkerChangedError,
    MarkerUnreadableError,
    Position,
    RestoreMarker,
    get_position,
    pause_behind,
    read_marker,
    resume_recovered,
    write_marker,
)
from core.store.recovery.start_memo import Rebuilt, compare, has_ended, rebuild

CLOCK_SLACK: Final = timedelta(minutes=1)
"""How far the clocks of PostgreSQL and Temporal may differ."""
SETTLE_SECONDS: Final = 3.0
"""Time for running workers to notice the pause, and for Temporal's index to catch up."""

IN_FLIGHT_POLL_SECONDS: Final = 0.5
MARKER_TRIES: Final = 5


class RecoveryError(Exception):
    """The recovery cannot start or continue. The text is one line for an operator."""


CANNOT_RECOVER = (RecoveryError, StorageUnavailableError, StorageRefusedError, *DATABASE_DOWN)
"""Errors that end a recovery; it is run again once their cause is repaired."""


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a recovery would do. behind: the database is behind its restore marker."""

    marker: RestoreMarker | None
    behind: bool
    since: datetime | None
    executions: dict[ExecutionId, Rebuilt] = field(default_factory=dict[ExecutionId, Rebuilt])
    without_memo: list[ExecutionId] = field(default_factory=list[ExecutionId])

    def ids(self, kind: Rebuilt) -> list[ExecutionId]:
        return [
            execution_id for execution_id, rebuilt in self.executions.items() if rebuilt is kind
        ]

    @property
    def to_recover(self) -> list[ExecutionId]:
        kinds = (Rebuilt.MADE, Rebuilt.RAISED, Rebuilt.OPEN)
        return [execution_id for execution_id, kind in self.executions.items() if kind in kinds]


@dataclass(slots=True, kw_only=True)
class Recovery:
    """Runs a recovery. show: prints a line. for_operator: what was not recovered, and why."""

    database: Database
    files: JobFiles
    submitter: JobSubmitter
    histories: ExecutionHistories
    show: Callable[[str], None]
    for_operator: list[str] = field(default_factory=list[str], init=False)

    async def survey(self, since: datetime | None) -> Survey:
        """Read what has to be recovered. Submits are paused if the database is behind."""
        try:
            marker, _, behind = await detect_restore(self.database, self.files.objects)
        except MarkerUnreadableError:
            marker, behind = None, True
        async with self.database.as_system() as conn:
            last_send = await get_last_send(conn)
        if since is None and last_send is not None:
            since = last_send - CLOCK_SLACK
        survey = Survey(marker=marker, behind=behind, since=since)
        for execution_id in await self.histories.list_executions(since):
            try:
                recorded = await self.histories.read(execution_id)
            except NoMemoError:
                async with self.database.as_system() as conn:
                    if not await has_ended(conn, execution_id):
                        survey.without_memo.append(execution_id)
                continue
            async with self.database.as_system() as conn:
                survey.executions[execution_id] = await compare(conn, recorded.accepted)
        return survey

    def describe(self, survey: Survey) -> list[str]:
        """Return what `run` would do, as lines for an operator."""
        since = "ever" if survey.since is None else f"{survey.since:%Y-%m-%d %H:%M:%S %Z}"
        number = len(survey.executions)
        executions = "1 execution" if number == 1 else f"{number} executions"
        return [
            "The database is behind its restore marker."
            if survey.behind
            else "The database is not behind its restore marker: continue only if it was restored.",
            f"Read: {executions} whose workflow was open, started or closed since {since}",
            f"  missing, to be rebuilt:          {len(survey.ids(Rebuilt.MADE))}",
            f"  retries to be rebuilt:           {len(survey.ids(Rebuilt.RAISED))}",
            f"  not ended here, to be run again: {len(survey.ids(Rebuilt.OPEN))}",
            f"  complete:                        {len(survey.ids(Rebuilt.NOTHING))}",
            f"  of users that do not exist here: {len(survey.ids(Rebuilt.NO_USER))}",
            f"  without a memo:                  {len(survey.without_memo)}",
        ]

    async def run(self, since: datetime | None, actor: str) -> None:
        """Recover everything. Safe to repeat, also after a kill: submits stay paused until the end.

        Raises RecoveryError if another recovery is running or an execution cannot be recovered.
        """
        async with self.database.listening_connection() as lock:
            await lock.execute(SET_SYSTEM.replace("LOCAL ", ""))
            if not await lock.fetchval(TRY_LOCK, LOCK_KEY):
                raise RecoveryError("another recovery is running")
            async with self.database.as_system() as conn:
                await pause_behind(conn)
            self.show("paused: no worker takes work, nothing is sent")
            await asyncio.sleep(SETTLE_SECONDS)
            await self._wait_for_sends()
            survey = await self.survey(since)
            async with self.database.as_system() as conn:
                await raise_serials(conn, survey.marker.serial if survey.marker is not None else 0)
            jobs = JobRecovery(submitter=self.submitter, files=self.files, show=self.show)
            for number, execution_id in enumerate(survey.to_recover, start=1):
                try:
                    result = await self._recover(execution_id, jobs)
                except (LookupError, ValueError, TypeError, asyncpg.PostgresError) as error:
                    raise RecoveryError(
                        f"{execution_id} cannot be recovered, submits stay paused: {error!r}"
                    ) from error
                self.show(f"{number}/{len(survey.to_recover)} {execution_id}: {result}")
            self.for_operator += jobs.for_operator
            self._add_unrecovered(survey)
            await self._end(survey, actor)

    async def _wait_for_sends(self) -> None:
        """Wait until no running worker can be within a send that it began before the pause."""
        shown = False
        while True:
            async with self.database.as_system() as conn:
                sends = await count_in_flight(conn, SUBMITTING_SECONDS)
            if not sends:
                return
            if not shown:
                self.show(f"waiting for {sends} sends that began before the pause")
                shown = True
            await asyncio.sleep(IN_FLIGHT_POLL_SECONDS)

    async def _recover(self, execution_id: ExecutionId, jobs: JobRecovery) -> str:
        """Recover one execution and queue it for another run. Return what was done."""
        recorded = await self.histories.read(execution_id)
        accepted = recorded.accepted
        if recorded.is_open:
            await self.histories.terminate(execution_id)
            recorded = await self.histories.read(execution_id)  # with its last events
        async with self.database.as_system() as conn:
            rebuilt = await rebuild(conn, accepted)
        if rebuilt in (Rebuilt.NOTHING, Rebuilt.NO_USER):
            return "unchanged"
        for job in accepted.jobs:
            ref = JobRef(
                user_id=accepted.user_id,
                execution_id=execution_id,
                job_id=JobId(job["job_id"]),
                generation=accepted.generation,
            )
            if ref.job_id in recorded.jobs:
                await jobs.recover(ref, recorded.jobs[ref.job_id])
            await self._recover_following(ref, recorded, accepted.list_following(job), jobs)
        async with self.database.as_system() as conn:
            await requeue_execution(
                conn,
                execution_id,
                accepted.generation,
                cancel_reason=recorded.cancel_reason,
                delivered=recorded.delivered,
            )
        return {Rebuilt.MADE: "rows rebuilt", Rebuilt.RAISED: "retry rebuilt"}.get(
            rebuilt, "queued again"
        )

    async def _recover_following(
        self,
        ref: JobRef,
        recorded: RecordedExecution,
        following: Sequence[tuple[JobId, str]],
        jobs: JobRecovery,
    ) -> None:
        """Recover the jobs at alternative models that the workflow submitted after this job."""
        in_memo = {job["job_id"] for job in recorded.accepted.jobs}
        for job_id, _ in following:
            if job_id in in_memo or job_id not in recorded.jobs:
                return
            await jobs.restore_following(ref)
            ref = replace(ref, job_id=job_id)
            await jobs.recover(ref, recorded.jobs[job_id])

    def _add_unrecovered(self, survey: Survey) -> None:
        self.for_operator += [
            f"{execution_id}: its user does not exist here, so nothing was rebuilt. Create the user "
            "under the same id and recover again, or settle with the customer"
            for execution_id in survey.ids(Rebuilt.NO_USER)
        ]
        self.for_operator += [
            f"{execution_id}: its workflow has no memo; look at it in the Temporal Web UI"
            for execution_id in survey.without_memo
        ]

    async def _end(self, survey: Survey, actor: str) -> None:
        """Lower the restore marker to the database, write the audit record, resume submits."""
        position = await self._replace_marker()
        async with self.database.as_system() as conn:
            detail = {
                "since": survey.since.isoformat() if survey.since is not None else None,
                "marked": survey.marker.serial if survey.marker is not None else None,
                "made": len(survey.ids(Rebuilt.MADE)) + len(survey.ids(Rebuilt.RAISED)),
                "queued": len(survey.to_recover),
                "forAPerson": self.for_operator[:100],
            }
            await record(conn, actor, "recover", position.database, detail)
            await resume_recovered(conn)

    async def _replace_marker(self) -> Position:
        """Lower the restore marker to the database and return its position.

        A worker of the older database may still write the marker; then number the last send again,
        above that.
        """
        for _ in range(MARKER_TRIES):
            try:
                marker = await read_marker(self.files.objects)
                serial, version = (marker.serial, marker.version) if marker else (0, None)
            except MarkerUnreadableError as error:
                serial, version = 0, error.version
            async with self.database.as_system() as conn:
                await renumber_last(conn, serial)
                position = await get_position(conn)
            new = RestoreMarker(
                serial=position.serial, at=datetime.now(UTC), database=position.database
            )
            try:
                await write_marker(self.files.objects, new, replaces=version)
            except MarkerChangedError:
                continue
            return position
        raise RecoveryError(
            "another process keeps writing the restore marker: stop the workers, then recover again"
        )
