"""Recovery of one job: its row, its send and its charge, from what Temporal and providers recorded.

Nothing is sent, so nothing is bought.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Final

import asyncpg

from core.domain.failures import Failure, FailureCode
from core.domain.ids import new_provider_key_id
from core.domain.messages.jobs import JobRef, JobReport, ProviderHandle
from core.domain.plans import StepOutput
from core.domain.states import JobState
from core.jobs.key_ring import known_model
from core.jobs.provider_reads import ProviderReads
from core.jobs.settlement import settle_ended
from core.jobs.submission.holds import find_higher_worst
from core.jobs.submission.inputs import InputUnavailableError, resolve_inputs
from core.jobs.submission.submit import JobSubmitter, ModelNotOfferedError
from core.maintenance.restores.histories import JobFate, RecordedJob
from core.providers.models import inputs_to_json
from core.providers.port import CreateRequest, Provider, ProviderUnavailableError
from core.store.database import Connection
from core.store.files.assets import insert_asset, list_job_assets
from core.store.files.job_files import JobFiles
from core.store.jobs.failovers import insert_next
from core.store.jobs.jobs import JobRecord, get_job, mark_job_ended, mark_reported
from core.store.jobs.orphans import record_orphan, return_to_waiting
from core.store.money.charges import release_hold
from core.store.money.raised_holds import restore_hold
from core.store.recovery.rebuild import (
    KeyNotCertainError,
    advance_job,
    fail_recovered_job,
    find_completed_job,
    get_key_since,
    insert_lost_key,
    insert_recovered_send,
)

STATUS_TRIES: Final = 3
STATUS_PAUSE_SECONDS: Final = 2.0
"""Short, because the command waits; a provider that stays down is asked later."""


@dataclass(slots=True, kw_only=True)
class JobRecovery:
    """Recovers jobs. show: prints a line. for_operator: what was not recovered, and why."""

    submitter: JobSubmitter
    files: JobFiles
    show: Callable[[str], None]
    for_operator: list[str] = field(default_factory=list[str], init=False)

    async def recover(self, ref: JobRef, recorded: RecordedJob) -> None:
        """Write the job as its last send left it, with its report if the provider has one."""
        database = self.submitter.database
        try:
            async with database.as_system() as conn:
                job = await self._retire_sends(conn, await get_job(conn, ref.job_id), recorded)
                if job.state in (JobState.WAITING, JobState.SUBMITTING, JobState.UNKNOWN):
                    await self._advance(conn, job, recorded)
                elif recorded.send_number > 0:
                    keyed, _ = await self._with_key(conn, job, recorded)
                    await self._insert_send(conn, job, keyed)
                job = await get_job(conn, ref.job_id)
        except asyncpg.UniqueViolationError:
            self._leave_to_operator(
                ref,
                f"the provider's id {recorded.provider_job_id} belongs to another job; "
                "settle it by hand",
            )
            return
        if job.state is JobState.SUBMITTED and not job.orphan:
            await self._read_report(ref, job)

    async def restore_following(self, ref: JobRef) -> None:
        """Restore the row of the job that the workflow submitted after this one.

        This job failed at no cost, as the workflow saw. If its provider could not be asked for
        that, its bill stays open.
        """
        async with self.submitter.database.as_system() as conn:
            job = await get_job(conn, ref.job_id)
            await mark_job_ended(
                conn,
                ref.job_id,
                JobState.FAILED,
                Failure.of(FailureCode.PROVIDER_FAILED),
                expected=(
                    JobState.WAITING,
                    JobState.SUBMITTING,
                    JobState.UNKNOWN,
                    JobState.SUBMITTED,
                ),
            )
            if job.state is JobState.WAITING:
                await release_hold(conn, ref.job_id)
            await insert_next(conn, job, generation=ref.generation, recovered=True)

    async def _retire_sends(
        self, conn: Connection, job: JobRecord, recorded: RecordedJob
    ) -> JobRecord:
        """Keep the ids of sends after which the workflow sent the job again, as orphans.

        The reconciler asks the provider for their cost, which the workflow saw to be nothing.
        """
        last = recorded.send_number
        if job.state is JobState.SUBMITTED and not job.orphan and last > job.send_number:
            await return_to_waiting(conn, job.job_id, job.send_number, job.failure)
        for send in recorded.retired:
            keyed, _ = await self._with_key(conn, job, send)
            await self._insert_send(conn, job, keyed)
            if send.provider_job_id is not None:
                handle = ProviderHandle(
                    provider=job.provider, model=job.model, provider_job_id=send.provider_job_id
                )
                await record_orphan(conn, job.job_id, send.send_number, handle)
        return await get_job(conn, job.job_id)

    async def _advance(self, conn: Connection, job: JobRecord, recorded: RecordedJob) -> None:
        """Move a job that has not ended to its recorded state."""
        if recorded.send_number < job.send_number:
            return
        recorded, key_certain = await self._with_key(conn, job, recorded)
        number, key_id = recorded.send_number, recorded.provider_key_id
        if recorded.fate is JobFate.FAILED and recorded.failure is not None:
            await self._fail(conn, job, recorded, recorded.failure)
        elif recorded.fate is JobFate.SUBMITTED and recorded.provider_job_id is not None:
            await self._insert_send(conn, job, recorded)
            await advance_job(
                conn,
                job.job_id,
                JobState.SUBMITTED,
                number,
                provider_job_id=recorded.provider_job_id,
                submitted_at=recorded.at,
                provider_key_id=key_id,
            )
        elif (
            recorded.fate is JobFate.UNKNOWN
            and await self._insert_send(conn, job, recorded)
            and key_certain
        ):
            await advance_job(conn, job.job_id, JobState.UNKNOWN, number, provider_key_id=key_id)
        elif recorded.fate is JobFate.UNKNOWN:
            # Without its exact request and account, no list can prove that the send was accepted or
            # not, so it is not sent again automatically.
            await self._fail(conn, job, recorded, Failure.of(FailureCode.SUBMISSION_UNKNOWN))
            self._leave_to_operator(
                _ref(job),
                f"send {number} of {recorded.at:%Y-%m-%d %H:%M:%S} cannot be looked up; find it at "
                f"{job.provider}, then run takeone-admin jobs adopt or jobs settle",
            )
        elif recorded.fate is JobFate.WAITING:
            await advance_job(conn, job.job_id, JobState.WAITING, number)

    async def _with_key(
        self, conn: Connection, job: JobRecord, recorded: RecordedJob
    ) -> tuple[RecordedJob, bool]:
        """Return the job with the key of its last send, and whether that key is certain.

        If it is not, the provider is not asked with any key.
        """
        key, certain = recorded.provider_key_id, True
        if recorded.send_number == job.send_number:
            key = job.provider_key_id
        elif not recorded.key_known:
            try:
                key = await get_key_since(
                    conn, job.user_id, job.provider, recorded.at, recorded.provider_key_id
                )
            except KeyNotCertainError:
                key, certain = new_provider_key_id(), False
        if key is not None:
            await insert_lost_key(conn, key, job.user_id, job.provider)
        return replace(recorded, provider_key_id=key), certain

    async def _fail(
        self, conn: Connection, job: JobRecord, recorded: RecordedJob, failure: Failure
    ) -> None:
        """Fail the job: release its hold if it was refused, keep the bill open if it is unknown."""
        unknown = failure.code is FailureCode.SUBMISSION_UNKNOWN
        if unknown:
            await self._insert_send(conn, job, recorded)
        failed = await fail_recovered_job(
            conn, job.job_id, recorded.send_number, failure, recorded.provider_key_id
        )
        if failed and not unknown:
            await release_hold(conn, job.job_id)

    async def _insert_send(self, conn: Connection, job: JobRecord, recorded: RecordedJob) -> bool:
        """Write the row of the send, computed as it was before, and hold what was held for it.

        Return False if its exact request is lost because an input no longer exists.
        """
        exact = True
        await self._restore_measured(conn, job)
        try:
            request, inputs = await self.submitter.prepare(conn, job, recorded.send_number)
        except (ModelNotOfferedError, InputUnavailableError, ValueError):
            exact = False
            request = CreateRequest(model=job.model, url="", body={})
            known = known_model(self.submitter.providers, job)
            if known is None or recorded.provider_job_id is None:
                return False
            # Without a file that decides the price, the worst price counts.
            bare = replace(job, parameters=replace(job.parameters, sources={}))
            inputs = await resolve_inputs(conn, self.submitter.objects, bare, known[1], seed=0)
        await insert_recovered_send(
            conn,
            job.job_id,
            recorded.send_number,
            job.user_id,
            request=asdict(request),
            inputs=inputs_to_json(inputs),
            sent_from=recorded.at,
            sent_until=recorded.until,
            provider_job_id=recorded.provider_job_id,
            provider_key_id=recorded.provider_key_id,
        )
        worst = await find_higher_worst(conn, self.submitter.providers, job, inputs)
        if worst is not None:
            await restore_hold(conn, job.job_id, worst)
        return exact

    async def _restore_measured(self, conn: Connection, job: JobRecord) -> None:
        """Record the files of other steps that decide what a job costs, from the bucket.

        Their rows are lost with the database. Without the length of its input, a job would be
        settled at the model's longest, and could not be looked up.
        """
        known = known_model(self.submitter.providers, job)
        for name, source in job.parameters.sources.items():
            if known is None or not isinstance(source, StepOutput) or not known[1].measures(name):
                continue
            maker_id = await find_completed_job(conn, job.execution_id, source.step)
            if maker_id is not None:
                await self._restore_file(conn, await get_job(conn, maker_id), source.output)

    async def _restore_file(self, conn: Connection, maker: JobRecord, number: int) -> None:
        outputs = maker.report.outputs if maker.report is not None else ()
        stored = await list_job_assets(conn, maker.job_id)
        if number < len(outputs) and all(asset.output_number != number for asset in stored):
            in_bucket = await self.files.find(maker, number, outputs[number].kind)
            if in_bucket is not None:
                await insert_asset(conn, in_bucket[0])

    async def _read_report(self, ref: JobRef, job: JobRecord) -> None:
        """Store the provider's report and settle the job, if it has ended.

        Otherwise the execution's next run waits for it.
        """
        provider = await self.submitter.keys.of_job(self.submitter.providers, job)
        if job.handle is None or provider is None:
            self._leave_to_operator(ref, _why_not_readable(job))
            return
        if job.report is None:
            report = await self._status(job, provider, job.handle)
            if report is None or not report.state.ended:
                return
            async with self.submitter.database.as_system() as conn:
                await mark_reported(conn, ref.job_id, report)
        async with self.submitter.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            if not job.state.ended:
                await settle_ended(conn, self.submitter.providers, job)

    async def _status(
        self, job: JobRecord, provider: Provider, handle: ProviderHandle
    ) -> JobReport | None:
        """Return the job's status, or None if the provider stays unavailable."""
        reads = ProviderReads.of(self.submitter.database, self.submitter.providers)
        for tries_left in reversed(range(STATUS_TRIES)):
            try:
                await reads.admit(job.scope)
                return await provider.status(handle)
            except ProviderUnavailableError as error:
                if not tries_left:
                    self.show(
                        f"{job.job_id}: {job.provider} is unavailable ({error}); "
                        "the execution asks again later"
                    )
                    return None
                await asyncio.sleep(STATUS_PAUSE_SECONDS)
        return None

    def _leave_to_operator(self, ref: JobRef, problem: str) -> None:
        self.for_operator.append(f"{ref.execution_id} {ref.job_id}: {problem}")


def _why_not_readable(job: JobRecord) -> str:
    if job.provider_key_id is not None:
        return "the user's own key is no longer in the database; settle the job by hand"
    return f"{job.provider} is not configured here; set its key, then recover again"


def _ref(job: JobRecord) -> JobRef:
    return JobRef(
        user_id=job.user_id,
        execution_id=job.execution_id,
        job_id=job.job_id,
        generation=job.execution_generation,
    )
