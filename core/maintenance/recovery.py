"""A database that was restored to the past is brought up to date: what was accepted from the memos
of workflows, what was bought from their histories and from the providers. Nothing is sent, so
nothing is bought.

Then every execution that had not ended walks once more, from its rows: it finds its jobs bought,
and ends as it did.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import asyncpg

from activities.jobs import JobActivities, ModelNotOfferedError
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId, new_provider_key_id
from core.domain.media import StorageRefusedError, StorageUnavailableError
from core.domain.messages.jobs import JobRef
from core.domain.states import JobState
from core.jobs.inputs import InputUnavailableError, resolve_inputs
from core.jobs.offers import known_model
from core.maintenance.restore_detector import find_behind
from core.platform.observability.logging import get_logger
from core.providers.port import CreateRequest, ProviderUnavailableError
from core.store.accounts.audit import record
from core.store.database import DATABASE_DOWN, SET_SYSTEM, Connection, Database
from core.store.files.object_storage import ObjectStore
from core.store.jobs.jobs import JobRecord, get_job, mark_reported
from core.store.jobs.submit_pauses import ALL, resume
from core.store.money.charges import release_hold
from core.store.recovery.rebuild import (
    LOCK_KEY,
    TRY_LOCK,
    KeyNotCertainError,
    bring_up,
    get_key_since,
    get_last_send,
    give_up,
    make_send,
    note_lost_key,
    queue_for_walk,
    raise_serials,
    renumber_last,
)
from core.store.recovery.restore_marker import (
    Mark,
    MarkUnreadableError,
    get_position,
    pause_behind,
    write_mark,
)
from core.store.recovery.start_memo import Accepted, Rebuilt, compare, has_ended, rebuild

log = get_logger(__name__)

SLACK = timedelta(minutes=1)
"""How far the clocks of PostgreSQL and Temporal may be apart."""
SETTLE_SECONDS = 3.0
"""Until running workers have noticed the pause, and Temporal's index has what they did."""
STATUS_TRIES, STATUS_PAUSE_SECONDS = 3, 2.0
_NOT_ON_OFFER = "is not on offer here: set its key, then recover again"
_NO_KEY = "its user's own key is not in the database any more, so nobody can ask about it: settle it by hand"


class NoMemoError(Exception):
    """A workflow without the memo of what was accepted: not one of ours, or from
    another version.
    """


class RecoveryError(Exception):
    """It cannot begin. Its text is one line for a person."""


CANNOT_RECOVER = (RecoveryError, StorageUnavailableError, StorageRefusedError, *DATABASE_DOWN)
"""What ends a recovery: mended, it is run again."""


class JobFate(StrEnum):
    """WAITING: certainly not accepted, up to the send of this number. UNKNOWN: that send may be
    out.

    SUBMITTED: the provider has it, by its id. FAILED: it was refused, or given up.
    """

    WAITING = "waiting"
    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPast:
    """What Temporal knows of a job. at: when its last send was ordered.

    provider_key_id: the user's own key that send was made with; key_known: so said its answer.
    Until then it is the one that the user had when the workflow was started.
    """

    fate: JobFate
    send_number: int
    at: datetime
    provider_job_id: ProviderJobId | None = None
    failure: Failure | None = None
    provider_key_id: ProviderKeyId | None = None
    key_known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPast:
    """cancel_reason: of a cancel that ended it, or still may."""

    accepted: Accepted
    is_open: bool
    cancel_reason: str | None
    jobs: dict[JobId, JobPast]


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalPast:
    """What a recovery asks of Temporal. read raises NoMemoError; terminate is safe to repeat."""

    list_executions: Callable[[datetime | None], Awaitable[list[ExecutionId]]]
    read: Callable[[ExecutionId], Awaitable[ExecutionPast]]
    terminate: Callable[[ExecutionId], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Survey:
    """What a recovery would do. behind: the database is behind its mark, or was found to be."""

    mark: Mark | None
    behind: bool
    since: datetime | None
    found: dict[ExecutionId, Rebuilt] = field(default_factory=dict[ExecutionId, Rebuilt])
    without_memo: list[ExecutionId] = field(default_factory=list[ExecutionId])

    def ids(self, kind: Rebuilt) -> list[ExecutionId]:
        return [execution_id for execution_id, found in self.found.items() if found is kind]

    @property
    def to_do(self) -> list[ExecutionId]:
        return [
            one
            for one, found in self.found.items()
            if found in (Rebuilt.MADE, Rebuilt.RAISED, Rebuilt.OPEN)
        ]


@dataclass(slots=True, kw_only=True)
class Recovery:
    """say: a line for the person who runs it. for_a_person: what could not be made again, each with
    what to do.
    """

    database: Database
    objects: ObjectStore
    jobs: JobActivities
    temporal: TemporalPast
    say: Callable[[str], None]
    for_a_person: list[str] = field(default_factory=list[str], init=False)

    async def survey(self, since: datetime | None) -> Survey:
        """Looks, and changes nothing but the pause, if the database is behind."""
        try:
            mark, _, behind = await find_behind(self.database, self.objects)
        except MarkUnreadableError:
            mark, behind = None, True
        async with self.database.as_system() as conn:
            last_send = await get_last_send(conn)
        if since is None and last_send is not None:
            since = last_send - SLACK
        survey = Survey(mark=mark, behind=behind, since=since)
        for execution_id in await self.temporal.list_executions(since):
            try:
                past = await self.temporal.read(execution_id)
            except NoMemoError:
                async with self.database.as_system() as conn:
                    if not await has_ended(conn, execution_id):
                        survey.without_memo.append(execution_id)
                continue
            async with self.database.as_system() as conn:
                survey.found[execution_id] = await compare(conn, past.accepted)
        return survey

    def describe(self, survey: Survey) -> list[str]:
        """What `run` would do, for a person."""
        since = "ever" if survey.since is None else f"{survey.since:%Y-%m-%d %H:%M:%S %Z}"
        found = "1 execution" if len(survey.found) == 1 else f"{len(survey.found)} executions"
        return [
            "The database is behind its high-water mark."
            if survey.behind
            else "The database is not behind its high-water mark: go on only if it was restored.",
            f"Looked at: {found} whose workflow was open, started or closed since {since}",
            f"  missing here, to be made again:  {len(survey.ids(Rebuilt.MADE))}",
            f"  retries to be made again:        {len(survey.ids(Rebuilt.RAISED))}",
            f"  not ended here, to walk again:   {len(survey.ids(Rebuilt.OPEN))}",
            f"  as they should be:               {len(survey.ids(Rebuilt.NOTHING))}",
            f"  of users that are not here:      {len(survey.ids(Rebuilt.NO_USER))}",
            f"  without a memo:                  {len(survey.without_memo)}",
        ]

    async def run(self, since: datetime | None, actor: str) -> None:
        """Everything. Safe to repeat, also after it was killed: until its end everything stays
        paused.

        Raises RecoveryError: another one is running.
        """
        async with self.database.listening_connection() as lock:
            await lock.execute(SET_SYSTEM.replace("LOCAL ", ""))
            if not await lock.fetchval(TRY_LOCK, LOCK_KEY):
                raise RecoveryError("another recovery is running")
            async with self.database.as_system() as conn:
                await pause_behind(conn)
            self.say("paused: no worker takes work, nothing is sent")
            await asyncio.sleep(SETTLE_SECONDS)
            survey = await self.survey(since)
            async with self.database.as_system() as conn:
                await raise_serials(conn, survey.mark.serial if survey.mark is not None else 0)
            for number, execution_id in enumerate(survey.to_do, start=1):
                try:
                    done = await self._recover(execution_id)
                except (LookupError, ValueError, TypeError, asyncpg.PostgresError) as error:
                    raise RecoveryError(
                        f"{execution_id} stops the recovery, everything stays paused: {error!r}"
                    ) from error
                self.say(f"{number}/{len(survey.to_do)} {execution_id}: {done}")
            self._note(survey)
            await self._end(survey, actor)

    async def _recover(self, execution_id: ExecutionId) -> str:
        past = await self.temporal.read(execution_id)
        accepted = past.accepted
        if past.is_open:
            await self.temporal.terminate(execution_id)
            past = await self.temporal.read(execution_id)  # with what it did until then
        async with self.database.as_system() as conn:
            found = await rebuild(conn, accepted)
        if found in (Rebuilt.NOTHING, Rebuilt.NO_USER):
            return "left as it is"
        for job in accepted.jobs:
            job_id = JobId(job["job_id"])
            if job_id in past.jobs:
                ref = JobRef(
                    user_id=accepted.user_id,
                    execution_id=execution_id,
                    job_id=job_id,
                    generation=accepted.generation,
                )
                await self._bring_up(ref, past.jobs[job_id])
        async with self.database.as_system() as conn:
            await queue_for_walk(
                conn, execution_id, accepted.generation, cancel_reason=past.cancel_reason
            )
        return {Rebuilt.MADE: "rows made again", Rebuilt.RAISED: "retry made again"}.get(
            found, "queued again"
        )

    async def _bring_up(self, ref: JobRef, past: JobPast) -> None:
        """One job: its row as its last send left it, its report if the provider has one."""
        try:
            async with self.database.as_system() as conn:
                job = await get_job(conn, ref.job_id)
                if job.state in (JobState.WAITING, JobState.SUBMITTING, JobState.UNKNOWN):
                    await self._move(conn, job, past)
                elif past.send_number > 0:
                    await self._make_send(conn, job, (await self._keyed(conn, job, past))[0])
                job = await get_job(conn, ref.job_id)
        except asyncpg.UniqueViolationError:
            self._ask(
                ref,
                f"its provider's id {past.provider_job_id} belongs to another job: settle it by hand",
            )
            return
        if job.state is JobState.SUBMITTED and not job.orphan:
            await self._ask_provider(ref, job)

    async def _move(self, conn: Connection, job: JobRecord, past: JobPast) -> None:
        if past.send_number < job.send_number:
            return
        past, key_certain = await self._keyed(conn, job, past)
        if past.fate is JobFate.FAILED and past.failure is not None:
            await self._fail(conn, job, past, past.failure)
        elif past.fate is JobFate.SUBMITTED and past.provider_job_id is not None:
            await self._make_send(conn, job, past)
            await bring_up(
                conn,
                job.job_id,
                JobState.SUBMITTED,
                past.send_number,
                provider_job_id=past.provider_job_id,
                submitted_at=past.at,
                provider_key_id=past.provider_key_id,
            )
        elif (
            past.fate is JobFate.UNKNOWN and await self._make_send(conn, job, past) and key_certain
        ):
            await bring_up(
                conn,
                job.job_id,
                JobState.UNKNOWN,
                past.send_number,
                provider_key_id=past.provider_key_id,
            )
        elif past.fate is JobFate.UNKNOWN:
            # Without its exact request, or of another account, no list can tell whether it was
            # accepted: it is not bought again by itself.
            await self._fail(conn, job, past, Failure.of(FailureCode.SUBMISSION_UNKNOWN))
            self._ask(
                _ref(job),
                f"send {past.send_number} of {past.at:%Y-%m-%d %H:%M:%S} cannot be looked up: find it at "
                f"{job.provider}, then: takeone-admin jobs adopt, or jobs settle",
            )
        elif past.fate is JobFate.WAITING:
            await bring_up(conn, job.job_id, JobState.WAITING, past.send_number)

    async def _keyed(self, conn: Connection, job: JobRecord, past: JobPast) -> tuple[JobPast, bool]:
        """With the key that its send was made with. False: nobody can tell which, so nobody is
        asked with any.
        """
        key, certain = past.provider_key_id, True
        if past.send_number == job.send_number:
            key = job.provider_key_id
        elif not past.key_known:
            try:
                key = await get_key_since(
                    conn, job.user_id, job.provider, past.at, past.provider_key_id
                )
            except KeyNotCertainError:
                key, certain = new_provider_key_id(), False
        if key is not None:
            await note_lost_key(conn, key, job.user_id, job.provider)
        return replace(past, provider_key_id=key), certain

    async def _fail(
        self, conn: Connection, job: JobRecord, past: JobPast, failure: Failure
    ) -> None:
        """It has failed: refused, then its money goes back; or given up, then the bill
        stays open.
        """
        doubtful = failure.code is FailureCode.SUBMISSION_UNKNOWN
        if doubtful:
            await self._make_send(conn, job, past)
        if (
            await give_up(conn, job.job_id, past.send_number, failure, past.provider_key_id)
            and not doubtful
        ):
            await release_hold(conn, job.job_id)

    async def _make_send(self, conn: Connection, job: JobRecord, past: JobPast) -> bool:
        """The row of the send, computed as it was. False: without its exact request, for what it
        needed is gone.
        """
        exact = True
        try:
            request, inputs = await self.jobs.prepare(conn, job, past.send_number)
        except (ModelNotOfferedError, InputUnavailableError, ValueError):
            exact = False
            request = CreateRequest(model=job.model, url="", body={})
            found = known_model(self.jobs.providers, job)
            if found is None:
                return False
            bare = replace(
                job, parameters=replace(job.parameters, image=None)
            )  # no price depends on the picture
            inputs = await resolve_inputs(conn, self.objects, bare, found[1], seed=0)
            if past.provider_job_id is None:
                return False
        await make_send(
            conn,
            job.job_id,
            past.send_number,
            job.user_id,
            request=asdict(request),
            inputs=asdict(inputs),
            sent_at=past.at,
            provider_job_id=past.provider_job_id,
            provider_key_id=past.provider_key_id,
        )
        return exact

    async def _ask_provider(self, ref: JobRef, job: JobRecord) -> None:
        """What it produced and cost, if it has ended; else the walk waits for it."""
        provider = await self.jobs.keys.of_job(self.jobs.providers, job)
        if job.handle is None or provider is None:
            self._ask(
                ref,
                _NO_KEY if job.provider_key_id is not None else f"{job.provider} {_NOT_ON_OFFER}",
            )
            return
        if job.report is None:
            for left in reversed(range(STATUS_TRIES)):
                try:
                    report = await provider.status(job.handle)
                    break
                except ProviderUnavailableError as error:
                    if not left:
                        self.say(
                            f"{job.job_id}: {job.provider} does not answer ({error}); it is asked again later"
                        )
                        return
                    await asyncio.sleep(STATUS_PAUSE_SECONDS)
            else:
                return
            if not report.state.ended:
                return
            async with self.database.as_system() as conn:
                await mark_reported(conn, ref.job_id, report)
        await self.jobs.settle(ref)

    def _note(self, survey: Survey) -> None:
        self.for_a_person += [
            f"{execution_id}: its user is not in the database, nothing was made: make the user again, under the "
            "same id, and recover again; or settle with the customer"
            for execution_id in survey.ids(Rebuilt.NO_USER)
        ]
        self.for_a_person += [
            f"{execution_id}: its workflow has no memo of what was accepted; look at it in the Temporal Web UI"
            for execution_id in survey.without_memo
        ]

    def _ask(self, ref: JobRef, what: str) -> None:
        self.for_a_person.append(f"{ref.execution_id} {ref.job_id}: {what}")

    async def _end(self, survey: Survey, actor: str) -> None:
        """The mark as the database is now; then the pause is lifted, and written down who
        did it.
        """
        async with self.database.as_system() as conn:
            await renumber_last(conn, survey.mark.serial if survey.mark is not None else 0)
            position = await get_position(conn)
        await write_mark(
            self.objects,
            Mark(serial=position.serial, at=datetime.now(UTC), database=position.database),
        )
        async with self.database.as_system() as conn:
            detail = {
                "since": survey.since.isoformat() if survey.since is not None else None,
                "marked": survey.mark.serial if survey.mark is not None else None,
                "made": len(survey.ids(Rebuilt.MADE)) + len(survey.ids(Rebuilt.RAISED)),
                "queued": len(survey.to_do),
                "forAPerson": self.for_a_person[:100],
            }
            await record(conn, actor, "recover", position.database, detail)
            await resume(conn, ALL)


def _ref(job: JobRecord) -> JobRef:
    return JobRef(
        user_id=job.user_id,
        execution_id=job.execution_id,
        job_id=job.job_id,
        generation=job.execution_generation,
    )
