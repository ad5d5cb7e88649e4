"""Activities of jobs: submit, find, wait, cancel and settle. Each decides by the job's row."""

from dataclasses import dataclass, field, replace

from temporalio import activity

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import (
    CancelJobResult,
    CancelOutcome,
    FindJobResult,
    JobRef,
    PurchaseClaim,
    SettleJobResult,
    SubmitJobResult,
    SubmitOutcome,
    WaitJobResult,
)
from core.domain.states import JobState
from core.jobs.key_ring import KeyRing
from core.jobs.lookups.lookup import JobLookup
from core.jobs.provider_reads import ProviderReads
from core.jobs.reuse import claim_for_job
from core.jobs.settlement import settle_job, wait_result
from core.jobs.submission.admission import ProviderAdmission
from core.jobs.submission.brief_waits import BriefWaits
from core.jobs.submission.deliveries import Deliveries
from core.jobs.submission.submit import Deferred, JobSubmitter, Sent
from core.jobs.waiting import poll_schedule, poller
from core.jobs.waiting.wakeups import Wakeups
from core.platform.clock import boot_seconds
from core.platform.crypto.callback_tokens import CallbackTokens
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal import policies
from core.platform.temporal.failures import retry_later
from core.platform.temporal.heartbeats import heartbeats, shielded, sleep_with_heartbeats
from core.providers.port import ProviderUnavailableError
from core.providers.registry import Providers
from core.store.database import Database
from core.store.files.job_files import JobFiles
from core.store.files.object_storage import ObjectStore
from core.store.jobs.callbacks import notify_job
from core.store.jobs.jobs import JobRecord, get_job, mark_cancel_sent
from core.store.jobs.looks import complete_later, start_looks
from core.store.providers.capacity import Deferral, DeferredBy
from core.store.providers.user_keys import list_current
from core.store.recovery.restore_marker import SerialWatch

log = get_logger(__name__)
IN_SLOT_SECONDS = 1.0
"""Between reads of the row by a wait that occupies a slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobActivities:
    """The clients of the job activities.

    callback_urls: by provider, the address of its callbacks without the token. A provider that is
    missing there is polled only.
    """

    database: Database
    providers: Providers
    objects: ObjectStore
    tokens: CallbackTokens
    callback_urls: dict[str, str]
    wakeups: Wakeups
    keys: KeyRing
    serial_watch: SerialWatch = field(default_factory=SerialWatch)
    admission: ProviderAdmission = field(default_factory=ProviderAdmission)
    brief_waits: BriefWaits | None = None
    files: JobFiles | None = None

    @property
    def submitter(self) -> JobSubmitter:
        return JobSubmitter(
            database=self.database,
            providers=self.providers,
            objects=self.objects,
            tokens=self.tokens,
            callback_urls=self.callback_urls,
            keys=self.keys,
            serial_watch=self.serial_watch,
            admission=self.admission,
            deliveries=None
            if self.files is None
            else Deliveries(database=self.database, providers=self.providers, files=self.files),
        )

    @activity.defn(name="claim_purchase")
    async def claim_purchase(self, ref: JobRef) -> PurchaseClaim:
        """Claim what a job orders, so that equal orders of a user are bought once.

        Repeating is safe: a job that has claimed it keeps the claim.
        """
        return await claim_for_job(self.database, self.providers, ref)

    @activity.defn(name="submit_job")
    async def submit(self, ref: JobRef) -> SubmitJobResult:
        """Send a waiting job once.

        Repeating is safe: the intent is committed before the send, so a repetition finds the job
        sent and sends nothing. A cancelled activity still finishes its send and records it. The end
        of a job whose model is quick is waited for.
        """
        of_own_keys = activity.info().task_queue.endswith(policies.OWN_KEYS_SUFFIX)
        with self.wakeups.of_end(ref.job_id) as end:
            async with heartbeats():
                result = await self._submit_in_slot(ref, own_key_only=of_own_keys)
                if isinstance(result, SubmitJobResult):
                    return result
                if result.result.outcome is not SubmitOutcome.SUBMITTED:
                    return result.result
                if result.result.settled is not None or self.brief_waits is None:
                    return result.result
                settled = await self.brief_waits.settled(ref, result.job, end)
                return replace(result.result, settled=settled)

    async def _submit_in_slot(self, ref: JobRef, *, own_key_only: bool) -> SubmitJobResult | Sent:
        """Send a job, after a wait for its key's rate and for a slot at its provider."""
        submitter, seconds = self.submitter, policies.SLOT_WAIT_SECONDS
        job = await self._with_own_key(ref) if own_key_only else None
        if job is not None:
            began = boot_seconds()
            if not await self.admission.wait_for_own_rate(
                self.database, job, within_seconds=seconds
            ):
                return self.admission.deferred_result(job, Deferral(by=DeferredBy.RATE))
            seconds -= boot_seconds() - began
        result = await shielded(submitter.submit(ref, own_key_only=own_key_only))
        if isinstance(result, Deferred) and await self.admission.wait_for_slot(
            self.database, result.job, result.reason, within_seconds=seconds
        ):
            result = await shielded(submitter.submit(ref, own_key_only=own_key_only))
        if isinstance(result, Deferred):
            return self.admission.deferred_result(result.job, result.reason)
        return result

    async def _with_own_key(self, ref: JobRef) -> JobRecord | None:
        """Return a waiting job with its user's present key; None: it needs no key, or has none."""
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            key_id = (await list_current(conn, ref.user_id)).get(job.provider)
        waits = job.state is JobState.WAITING and key_id is not None
        return replace(job, provider_key_id=key_id) if waits else None

    @activity.defn(name="find_job")
    async def find(self, ref: JobRef) -> FindJobResult:
        """Look for a send of unknown outcome until the outcome is known or the search ends.

        Repeating is safe: it sends nothing.
        """
        lookup = JobLookup(
            database=self.database,
            providers=self.providers,
            wakeups=self.wakeups,
            keys=self.keys,
            reads=ProviderReads.of(self.database, self.providers),
        )
        return await lookup.find(ref)

    @activity.defn(name="wait_for_job")
    async def wait(self, ref: JobRef) -> WaitJobResult:
        """Wait until the provider has ended the job, or until the deadline (SUBMITTED).

        The poller completes the activity, which occupies no slot meanwhile. Repeating is safe: a
        job that has ended is read from its row. A wait of an earlier version has another id and
        stays in its slot until the poller has stored the end.
        """
        result = await self._read_end(ref)
        if result is not None:
            return result
        if activity.info().activity_id.startswith(policies.WAIT_PREFIX):
            activity.raise_complete_async()
        with self.wakeups.of(ref.job_id) as wake:
            while (result := await self._read_end(ref, in_slot=True)) is None:
                await sleep_with_heartbeats(IN_SLOT_SECONDS, wake)
            return result

    async def _read_end(self, ref: JobRef, *, in_slot: bool = False) -> WaitJobResult | None:
        """Return the end of the wait; None: the poller will find it.

        in_slot: the end of the waiting time is an end, because the poller cannot report it here.
        """
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            if job.state.ended or job.state is JobState.WAITING:
                settled = await settle_job(conn, self.providers, job, generation=ref.generation)
                if job.state.ended and not in_slot:
                    # This try may be lost with its worker, which no time-out notices for minutes.
                    await complete_later(conn, ref.job_id, poller.COMPLETED_AGAIN_SECONDS)
                return wait_result(settled)
            if job.state is not JobState.SUBMITTED or job.handle is None:
                return WaitJobResult(state=job.state)
            if job.report is not None:
                return WaitJobResult(state=job.report.state)
            if job.next_look_at is None:
                await start_looks(conn, ref.job_id)
            elif in_slot and poll_schedule.wait_is_over(job) and job.failed_looks > 0:
                return WaitJobResult(state=JobState.SUBMITTED)
        return None

    @activity.defn(name="cancel_job")
    async def cancel(self, ref: JobRef) -> CancelJobResult:
        """Cancel a running job at its provider once; `wait` then reads its outcome and its cost.

        Repeating is safe: only a try without an answer calls the provider again. A new workflow run
        or a second order finds the cancel in the row and makes no call.
        """
        job = await self._get(ref)
        if job.state is not JobState.SUBMITTED or job.handle is None or job.report is not None:
            return CancelJobResult(outcome=CancelOutcome.NOTHING)
        if job.cancel_sent_at is not None and activity.info().attempt == 1:
            return CancelJobResult(outcome=CancelOutcome.REQUESTED)
        async with self.database.as_user(ref.user_id) as conn:
            await mark_cancel_sent(conn, ref.job_id)
        provider = await self.keys.of_job(self.providers, job)
        if provider is None:
            raise retry_later(Failure.of(FailureCode.PROVIDER_UNAVAILABLE))
        try:
            await ProviderReads.of(self.database, self.providers).admit(job.scope)
            outcome = await provider.cancel(job.handle)
        except ProviderUnavailableError as error:
            metrics.PROVIDER_CALLS.labels(job.provider, "cancel", "unavailable").inc()
            raise retry_later(
                Failure.of(FailureCode.PROVIDER_UNAVAILABLE),
                after_seconds=error.retry_after_seconds,
            ) from error
        metrics.PROVIDER_CALLS.labels(job.provider, "cancel", outcome.value).inc()
        async with self.database.as_user(ref.user_id) as conn:
            await notify_job(conn, ref.job_id)
        log.info("job.cancel_requested", **_ids(ref), outcome=outcome)
        return CancelJobResult(outcome=outcome)

    @activity.defn(name="settle_job")
    async def settle(self, ref: JobRef) -> SettleJobResult:
        """Write the outcome of a job and its real cost in one transaction.

        Only for a job that the poller did not settle with its report, for example because it did
        not end by its deadline. Repeating is safe.
        """
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            return await settle_job(conn, self.providers, job, generation=ref.generation)

    async def _get(self, ref: JobRef) -> JobRecord:
        async with self.database.as_user(ref.user_id) as conn:
            return await get_job(conn, ref.job_id)


def _ids(ref: JobRef) -> dict[str, str]:
    return {"execution_id": ref.execution_id, "job_id": ref.job_id}
