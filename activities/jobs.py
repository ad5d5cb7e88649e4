"""Jobs: the half of the pay-once protocol that talks to providers. What is decided, is decided from the job's row.

submit   intent committed · one POST · answer committed
find     a send whose answer is not known is looked up, never sent again
wait     woken by a callback, else an adaptive poll
cancel   ask the provider to end it
settle   outcome and real cost, one transaction
"""

import asyncio
from dataclasses import asdict, dataclass
from hashlib import sha256

from temporalio import activity

from activities import pacing
from activities.answers import record_answer, refuse_unsent, sent_already
from activities.beats import pause
from activities.failures import retry_later
from activities.inputs import InputUnavailableError, resolve_inputs
from activities.wakeups import Wakeups
from contracts.failures import Failure, FailureCode
from contracts.jobs import (
    CancelJobResult,
    CancelOutcome,
    FindJobResult,
    FindOutcome,
    JobRef,
    JobReport,
    ProviderHandle,
    SettleJobResult,
    SubmitJobResult,
    WaitJobResult,
)
from contracts.states import JobState
from providers.port import (
    Cost,
    CreateAnswer,
    CreateRequest,
    Lookup,
    ModelInputs,
    Provider,
    ProviderUnavailableError,
)
from providers.registry import Providers
from runtime import metrics
from runtime.clock import boot_seconds
from runtime.logging import get_logger
from runtime.policies import CREATE_CALL_SECONDS, RECORD_PAUSES_SECONDS, SEND_WITHIN_SECONDS
from runtime.tokens import CallbackTokens
from store.callbacks import notify_job
from store.charges import get_money, settle_charge
from store.database import DATABASE_DOWN, Connection, Database
from store.jobs import (
    JobRecord,
    begin_send,
    get_job,
    get_send,
    has_twin,
    list_owned,
    mark_cancel_sent,
    mark_job_ended,
    mark_reported,
    mark_send_answered,
    mark_submitted,
    mark_unknown,
    mark_waiting,
)
from store.objects import ObjectStore

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobActivities:
    """callback_urls: per provider, the address its callbacks go to, without the token; none: not asked for,
    polling does it.
    """

    database: Database
    providers: Providers
    objects: ObjectStore
    tokens: CallbackTokens
    callback_urls: dict[str, str]
    wakeups: Wakeups

    @activity.defn(name="submit_job")
    async def submit(self, ref: JobRef) -> SubmitJobResult:
        """Send a waiting job once. Repeating is safe: whoever finds the job sent already, sends nothing."""
        began = boot_seconds()
        async with self.database.as_user(ref.user_id) as conn:
            intent = await self._intend(conn, ref)
        if isinstance(intent, SubmitJobResult):
            return intent
        name = intent.provider.name
        with metrics.timed(metrics.PROVIDER_CALL_DURATION.labels(name, "create")):
            answer = await intent.provider.submit(
                intent.request, timeout_seconds=CREATE_CALL_SECONDS, not_after=began + SEND_WITHIN_SECONDS
            )
        metrics.PROVIDER_CALLS.labels(name, "create", answer.outcome.value).inc()
        log.info("job sent", **_ids(ref), provider=name, send=intent.number, outcome=answer.outcome, note=answer.note)
        return await self._record_answer(ref, intent.number, answer)

    async def _intend(self, conn: Connection, ref: JobRef) -> "_Intent | SubmitJobResult":
        """What is about to be sent, for the caller to commit before any byte leaves; or the answer, if nothing is."""
        job = await get_job(conn, ref.job_id)
        if job.state is not JobState.WAITING:
            return await sent_already(conn, ref, job)
        if job.late:
            code = FailureCode.DEADLINE_EXCEEDED if job.deadline_at is None else FailureCode.PROVIDER_TIMED_OUT
            return await refuse_unsent(conn, ref, Failure.of(code))
        found = self.providers.find_model(job.model, job.provider)
        if found is None:
            return await refuse_unsent(conn, ref, Failure.of(FailureCode.PROVIDER_MODEL_UNAVAILABLE))
        provider, model = found
        number = job.send_number + 1
        try:
            inputs = await resolve_inputs(conn, self.objects, job, model, seed=_seed(ref, number))
            request = provider.create_request(model, inputs, self._callback_url(ref, job.provider, number))
        except InputUnavailableError as error:
            return await refuse_unsent(conn, ref, error.failure)
        except ValueError as error:  # a plan that was accepted should not hold such inputs; no repeat would heal it
            log.error("inputs that the model does not take", **_ids(ref), reason=str(error))  # noqa: TRY400 - no trace
            return await refuse_unsent(conn, ref, Failure.of(FailureCode.INTERNAL_ERROR))
        if not await begin_send(conn, ref, number, asdict(request), asdict(inputs)):
            return await sent_already(conn, ref, await get_job(conn, ref.job_id))
        return _Intent(provider=provider, request=request, number=number)

    async def _record_answer(self, ref: JobRef, number: int, answer: CreateAnswer) -> SubmitJobResult:
        """Commit what became of a send. A database that blinks now would cost a look-up: it gets a few tries."""
        for pause_seconds in RECORD_PAUSES_SECONDS:
            try:
                async with self.database.as_user(ref.user_id) as conn:
                    return await record_answer(conn, ref, number, answer)
            except DATABASE_DOWN as error:
                log.warning("an answer could not be committed yet", **_ids(ref), reason=type(error).__name__)
                await asyncio.sleep(pause_seconds)
        async with self.database.as_user(ref.user_id) as conn:
            return await record_answer(conn, ref, number, answer)

    @activity.defn(name="find_job")
    async def find(self, ref: JobRef) -> FindJobResult:
        """Look for a send whose answer is not known, until something is known or the job's deadline has passed."""
        with self.wakeups.of(ref.job_id) as wake:
            looks = 0
            while True:
                job = await self._get(ref)
                if job.state not in (JobState.SUBMITTING, JobState.UNKNOWN):
                    return FindJobResult(outcome=_found_meanwhile(job.state), failure=job.failure)
                found = await self._look(ref, job)
                if found is not None:
                    return found
                if job.late:
                    return await self._give_up(ref)
                looks += 1
                await pause(pacing.find_seconds(looks), wake)

    async def _look(self, ref: JobRef, job: JobRecord) -> FindJobResult | None:
        """One look at the provider's list. None: still not known."""
        provider = self._offered(ref, job)
        async with self.database.as_user(ref.user_id) as conn:
            await mark_unknown(conn, ref.job_id, job.send_number)
            send = await get_send(conn, ref.job_id, job.send_number)
        if provider is None:
            return None
        try:
            answer = await provider.find(Lookup(request=CreateRequest(**send.request), sent_at=send.sent_at))
        except ProviderUnavailableError as error:
            metrics.PROVIDER_CALLS.labels(job.provider, "list", "unavailable").inc()
            log.info("look-up failed", **_ids(ref), reason=str(error))
            return None
        metrics.PROVIDER_CALLS.labels(job.provider, "list", "answered").inc()
        async with self.database.as_system() as conn:  # the id may be another user's: providers do not know our users
            owned = await list_owned(conn, job.provider, [match.provider_job_id for match in answer.matches])
            ambiguous = await has_twin(conn, ref.job_id, job.send_number)
        async with self.database.as_user(ref.user_id) as conn:
            free = [match for match in answer.matches if match.provider_job_id not in owned]
            if len(free) == 1 and not ambiguous and await mark_submitted(conn, ref.job_id, job.send_number, free[0]):
                await mark_send_answered(
                    conn, ref.job_id, job.send_number, "found", provider_job_id=free[0].provider_job_id
                )
                log.info("an unknown send was found", **_ids(ref), send=job.send_number)
                return FindJobResult(outcome=FindOutcome.FOUND)
            found = self.providers.find_model(job.model, job.provider)  # a model taken out meanwhile has no horizon
            past = found is not None and send.age_seconds > provider.certainty_horizon_seconds(found[1])
            certain = answer.authoritative and past
            if not free and certain and await mark_waiting(conn, ref.job_id, job.send_number):
                await mark_send_answered(conn, ref.job_id, job.send_number, "absent")
                log.info("an unknown send was never accepted", **_ids(ref), send=job.send_number)
                return FindJobResult(outcome=FindOutcome.ABSENT)
        return None

    async def _give_up(self, ref: JobRef) -> FindJobResult:
        """The deadline passed and nobody knows. The job has failed; its hold stays, and the sweep keeps looking."""
        failure = Failure.of(FailureCode.SUBMISSION_UNKNOWN)
        async with self.database.as_user(ref.user_id) as conn:
            ended = await mark_job_ended(
                conn, ref.job_id, JobState.FAILED, failure, expected=(JobState.SUBMITTING, JobState.UNKNOWN)
            )
        if not ended:
            job = await self._get(ref)
            return FindJobResult(outcome=_found_meanwhile(job.state), failure=job.failure)
        log.error("a send could not be found before its deadline", **_ids(ref))
        return FindJobResult(outcome=FindOutcome.GIVEN_UP, failure=failure)

    @activity.defn(name="wait_for_job")
    async def wait(self, ref: JobRef) -> WaitJobResult:
        """Until the provider has ended the job, or time is up (SUBMITTED).

        Repeating is safe: it only reads and keeps the report.
        """
        with self.wakeups.of(ref.job_id) as wake:
            look = False
            while True:
                job = await self._get(ref)
                if job.state is not JobState.SUBMITTED or job.handle is None:
                    return WaitJobResult(state=job.state)
                if job.report is not None:
                    return WaitJobResult(state=job.report.state)
                if look or pacing.poll_is_due(job):
                    report = await self._poll(ref, job, job.handle)
                    if report is not None:
                        return WaitJobResult(state=report.state)
                if pacing.time_is_up(job):
                    return WaitJobResult(state=JobState.SUBMITTED)
                await pause(pacing.poll_seconds(job), wake)
                look = True

    async def _poll(self, ref: JobRef, job: JobRecord, handle: ProviderHandle) -> JobReport | None:
        """Ask how the job stands; its report, kept, if it has ended."""
        provider = self._offered(ref, job)
        if provider is None:
            return None
        try:
            with metrics.timed(metrics.PROVIDER_CALL_DURATION.labels(job.provider, "status")):
                report = await provider.status(handle)
        except ProviderUnavailableError as error:
            metrics.PROVIDER_CALLS.labels(job.provider, "status", "unavailable").inc()
            log.info("poll failed", **_ids(ref), reason=str(error))
            return None
        metrics.PROVIDER_CALLS.labels(job.provider, "status", "answered").inc()
        if not report.state.ended:
            return None
        async with self.database.as_user(ref.user_id) as conn:
            await mark_reported(conn, ref.job_id, report)
        return report

    @activity.defn(name="cancel_job")
    async def cancel(self, ref: JobRef) -> CancelJobResult:
        """Ask the provider to end a running job. What it then did, and what that cost, is read by `wait`."""
        job = await self._get(ref)
        if job.state is not JobState.SUBMITTED or job.handle is None or job.report is not None:
            return CancelJobResult(outcome=CancelOutcome.NOTHING)
        async with self.database.as_user(ref.user_id) as conn:
            await mark_cancel_sent(conn, ref.job_id)
        try:
            outcome = await self.providers.provider(job.provider).cancel(job.handle)
        except ProviderUnavailableError as error:
            metrics.PROVIDER_CALLS.labels(job.provider, "cancel", "unavailable").inc()
            raise retry_later(
                Failure.of(FailureCode.PROVIDER_UNAVAILABLE), after_seconds=error.retry_after_seconds
            ) from error
        metrics.PROVIDER_CALLS.labels(job.provider, "cancel", outcome.value).inc()
        async with self.database.as_user(ref.user_id) as conn:
            await notify_job(conn, ref.job_id)
        log.info("provider asked to end a job", **_ids(ref), outcome=outcome)
        return CancelJobResult(outcome=outcome)

    @activity.defn(name="settle_job")
    async def settle(self, ref: JobRef) -> SettleJobResult:
        """The outcome of a job and its real cost, in one transaction.

        Repeating changes nothing and answers the same.
        """
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            settled_nano_usd = 0
            if not job.state.ended:
                settled_nano_usd = await self._settle(conn, job)
            ended = await get_job(conn, ref.job_id)
            money = await get_money(conn, ref.execution_id)
        if not job.state.ended:
            _count(ended, settled_nano_usd)
            log.info("job settled", **_ids(ref), state=ended.state, settled_nano_usd=settled_nano_usd)
        return SettleJobResult(
            state=ended.state, failure=ended.failure, execution_spent_nano_usd=money.settled_nano_usd
        )

    async def _settle(self, conn: Connection, job: JobRecord) -> int:
        if job.report is None:
            # It would not end, not even when asked to. Its bill is open: the hold stays, the sweep keeps looking.
            code = FailureCode.CANCELLED if job.cancel_requested else FailureCode.PROVIDER_TIMED_OUT
            state = JobState.CANCELLED if job.cancel_requested else JobState.FAILED
            await mark_job_ended(conn, job.job_id, state, Failure.of(code), expected=(JobState.SUBMITTED,))
            return 0
        failure = job.report.failure
        if job.report.state is JobState.CANCELLED:
            failure = _why_cancelled(job)
        cost = await self._cost(conn, job, job.report)
        await mark_job_ended(conn, job.job_id, job.report.state, failure, expected=(JobState.SUBMITTED,))
        if cost is None:
            return 0
        await settle_charge(conn, job.job_id, cost.nano_usd, cost.basis)
        return cost.nano_usd

    async def _cost(self, conn: Connection, job: JobRecord, report: JobReport) -> Cost | None:
        """None: this worker cannot price it (model or key taken out meanwhile).

        The bill stays open, the sweep settles it.
        """
        send = await get_send(conn, job.job_id, job.send_number)
        found = self.providers.find_model(job.model, job.provider)
        try:
            return found[0].cost(found[1], ModelInputs(**send.inputs), report) if found is not None else None
        except ValueError as error:
            log.error("a job cannot be priced", job_id=job.job_id, reason=str(error))  # noqa: TRY400 - no trace
            return None

    async def _get(self, ref: JobRef) -> JobRecord:
        async with self.database.as_user(ref.user_id) as conn:
            return await get_job(conn, ref.job_id)

    def _offered(self, ref: JobRef, job: JobRecord) -> Provider | None:
        """None: its key was taken out of the settings. Nothing can be asked; the job's deadline still ends it."""
        if job.provider not in self.providers.names:
            log.warning("the provider of a job is not on offer", **_ids(ref), provider=job.provider)
            return None
        return self.providers.provider(job.provider)

    def _callback_url(self, ref: JobRef, provider: str, number: int) -> str | None:
        base = self.callback_urls.get(provider)
        return f"{base}/{self.tokens.sign(ref.job_id, number)}" if base is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    provider: Provider
    request: CreateRequest
    number: int


def _why_cancelled(job: JobRecord) -> Failure | None:
    """None if it was ordered: then nothing has failed. Else it was us, past its deadline, or the provider by itself."""
    if job.cancel_requested:
        return None
    return Failure.of(FailureCode.PROVIDER_FAILED if job.cancel_sent_at is None else FailureCode.PROVIDER_TIMED_OUT)


def _found_meanwhile(state: JobState) -> FindOutcome:
    if state is JobState.WAITING:
        return FindOutcome.ABSENT
    return FindOutcome.FOUND if state is JobState.SUBMITTED else FindOutcome.ENDED


def _seed(ref: JobRef, number: int) -> int:
    """A seed that only this send has, so that a look-up can match it exactly.

    31 bits: the least that all models take.
    """
    return int.from_bytes(sha256(f"{ref.job_id}/{number}".encode()).digest()[:4], "big") >> 1


def _count(job: JobRecord, settled_nano_usd: int) -> None:
    metrics.COST_NANO_USD.labels(job.provider, job.model).inc(settled_nano_usd)
    if job.submitted_at is not None:
        seconds = (job.now - job.submitted_at).total_seconds()
        metrics.JOB_DURATION.labels(job.provider, job.model, job.state.value).observe(seconds)


def _ids(ref: JobRef) -> dict[str, str]:
    return {"execution_id": ref.execution_id, "job_id": ref.job_id}
