"""Jobs: the half of the pay-once protocol that talks to providers. What is decided, is decided from
the job's row.

submit   intent committed · one POST · answer committed find     a send whose answer is not known is
looked up, never sent again (core/jobs/lookup.py) wait     woken by a callback, else an adaptive
poll cancel   ask the provider to end it settle   outcome and real cost, one transaction
(core/jobs/settlement.py)
"""

import asyncio
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from random import random
from secrets import token_hex

from temporalio import activity

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId
from core.domain.messages.jobs import (
    CancelJobResult,
    CancelOutcome,
    FindJobResult,
    JobRef,
    JobReport,
    ProviderHandle,
    SettleJobResult,
    SubmitJobResult,
    SubmitOutcome,
    WaitJobResult,
)
from core.domain.states import JobState
from core.jobs import poll_schedule as pacing
from core.jobs.admission import ProviderGate
from core.jobs.inputs import InputUnavailableError, resolve_inputs
from core.jobs.key_ring import KeyRing
from core.jobs.lookup import Finder
from core.jobs.offers import known_model
from core.jobs.settlement import settle_ended
from core.jobs.submit_results import of_own_key, record_answer, refuse_unsent, sent_already
from core.jobs.wakeups import Wakeups
from core.platform.clock import boot_seconds
from core.platform.crypto.callback_tokens import CallbackTokens
from core.platform.observability import metrics
from core.platform.observability.logging import get_logger
from core.platform.temporal.failures import retry_later
from core.platform.temporal.heartbeats import beating, pause, to_its_end
from core.platform.temporal.policies import (
    CREATE_CALL_SECONDS,
    RECORD_PAUSES_SECONDS,
    SEND_WITHIN_SECONDS,
)
from core.providers.port import (
    CreateAnswer,
    CreateRequest,
    ModelInputs,
    Provider,
    ProviderUnavailableError,
)
from core.providers.registry import Providers
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.files.object_storage import ObjectStore
from core.store.jobs.callbacks import notify_job
from core.store.jobs.jobs import (
    JobRecord,
    begin_send,
    get_job,
    mark_cancel_sent,
    mark_reported,
    mark_send_answered,
    take_back_send,
)
from core.store.money.charges import get_money
from core.store.providers.capacity import HeldBack, Passed
from core.store.providers.user_keys import current_key
from core.store.recovery.restore_marker import HighWater

log = get_logger(__name__)


class ModelNotOfferedError(Exception):
    """The model of a job, or its provider, was taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobActivities:
    """callback_urls: per provider, the address its callbacks go to, without the token; none: not
    asked for, polling does it.
    """

    database: Database
    providers: Providers
    objects: ObjectStore
    tokens: CallbackTokens
    callback_urls: dict[str, str]
    wakeups: Wakeups
    keys: KeyRing
    high_water: HighWater = field(default_factory=HighWater)
    gate: ProviderGate = field(default_factory=ProviderGate)

    @activity.defn(name="submit_job")
    async def submit(self, ref: JobRef) -> SubmitJobResult:
        """Send a waiting job once. Repeating is safe: whoever finds the job sent already, sends
        nothing.
        """
        async with beating():
            result = await to_its_end(self._submit(ref))
            if isinstance(result, _Held) and await self.gate.opens(
                self.database, result.job, result.held
            ):
                result = await to_its_end(self._submit(ref))
            return (
                self.gate.held_back(result.job, result.held)
                if isinstance(result, _Held)
                else result
            )

    async def _submit(self, ref: JobRef) -> "SubmitJobResult | _Held":
        began, sender = boot_seconds(), token_hex(16)
        known = self.high_water.known
        try:
            async with self.database.as_user(ref.user_id) as conn:
                intent = await self._intend(conn, ref, sender)
                if isinstance(intent, _Intent):
                    self.high_water.check(known, intent.serial)
        except DATABASE_DOWN as error:
            log.warning(
                "an intent's transaction was cut off", **_ids(ref), reason=type(error).__name__
            )
            return await self._take_back(ref, sender)
        if isinstance(intent, SubmitJobResult | _Held):
            return intent
        self.high_water.note(intent.serial)
        name = intent.provider.name
        with metrics.timed(metrics.PROVIDER_CALL_DURATION.labels(name, "create")):
            answer = await intent.provider.submit(
                intent.request,
                timeout_seconds=began
                + CREATE_CALL_SECONDS
                - boot_seconds(),  # the intent's time is part of it
                not_after=began + SEND_WITHIN_SECONDS,
            )
        if intent.job.provider_key_id is not None:
            answer = of_own_key(answer)
        metrics.PROVIDER_CALLS.labels(name, "create", answer.outcome.value).inc()
        log.info(
            "job sent",
            **_ids(ref),
            provider=name,
            send=intent.number,
            outcome=answer.outcome,
            note=answer.note,
        )
        result = await self._record_answer(ref, intent.number, answer)
        if self.gate.teaches(answer, intent.passed):
            await self.gate.learn(self.database, intent.job, answer, intent.passed)
        return result

    async def _take_back(self, ref: JobRef, sender: str) -> SubmitJobResult:
        """The database went away in the intent's transaction: perhaps it is committed, certainly
        nothing was sent.

        Raises what the database raises while it stays away: then the job's row is looked at later,
        by `find`.
        """
        async with self.database.as_user(ref.user_id) as conn:
            number = await take_back_send(conn, ref.job_id, sender)
            if number is None:
                return await sent_already(conn, ref, await get_job(conn, ref.job_id))
            await mark_send_answered(
                conn, ref.job_id, number, "not_accepted", note="not sent: COMMIT got no answer"
            )
        log.warning(
            "an intent was committed without an answer, and taken back", **_ids(ref), send=number
        )
        return SubmitJobResult(outcome=SubmitOutcome.NOT_SENT, send_number=number)

    async def _intend(
        self, conn: Connection, ref: JobRef, sender: str
    ) -> "_Intent | SubmitJobResult | _Held":
        """What is about to be sent, for the caller to commit before any byte leaves; or the answer,
        if nothing is.
        """
        job = await get_job(conn, ref.job_id)
        if job.state is not JobState.WAITING:
            return await sent_already(conn, ref, job)
        # The key that its user has now; whatever is asked about this send later is asked with the
        # same.
        keyed = replace(job, provider_key_id=await current_key(conn, ref.user_id, job.provider))
        if job.late:
            return await refuse_unsent(
                conn, ref, job.failure or await self.gate.why_never_sent(conn, keyed)
            )
        provider = await self.keys.open(conn, self.providers, job.provider, keyed.provider_key_id)
        if provider is None:
            return await _without_provider(conn, ref, keyed)
        number = job.send_number + 1
        try:
            request, inputs = await self.prepare(conn, job, number)
        except ModelNotOfferedError:
            return await refuse_unsent(
                conn, ref, Failure.of(FailureCode.PROVIDER_MODEL_UNAVAILABLE)
            )
        except InputUnavailableError as error:
            return await refuse_unsent(conn, ref, error.failure)
        except (
            ValueError
        ) as error:  # a plan that was accepted should not hold such inputs; no repeat would heal it
            log.error("inputs that the model does not take", **_ids(ref), reason=str(error))  # noqa: TRY400 - no trace
            return await refuse_unsent(conn, ref, Failure.of(FailureCode.INTERNAL_ERROR))
        passed = await self.gate.take(conn, keyed)
        if isinstance(passed, HeldBack):
            return (
                await sent_already(conn, ref, job)
                if job.cancel_requested
                else _Held(job=keyed, held=passed)
            )
        serial = await begin_send(
            conn,
            ref,
            number,
            asdict(request),
            asdict(inputs),
            sender=sender,
            provider_key_id=keyed.provider_key_id,
        )
        if serial is None:
            await self.gate.give_back(conn, keyed, passed)
            return await sent_already(conn, ref, await get_job(conn, ref.job_id))
        return _Intent(
            job=keyed,
            provider=provider,
            request=request,
            number=number,
            serial=serial,
            passed=passed,
        )

    async def prepare(
        self, conn: Connection, job: JobRecord, number: int
    ) -> tuple[CreateRequest, ModelInputs]:
        """What a send of this number asks for: the same every time, as far as what it needs has not
        changed.

        Raises ModelNotOfferedError, InputUnavailableError, and ValueError for inputs that the model
        does not take.
        """
        found = known_model(self.providers, job)
        if found is None:
            raise ModelNotOfferedError(job.model)
        provider, model = found
        inputs = await resolve_inputs(
            conn, self.objects, job, model, seed=_seed(job.job_id, number)
        )
        return provider.create_request(model, inputs, self._callback_url(job, number)), inputs

    async def _record_answer(
        self, ref: JobRef, number: int, answer: CreateAnswer
    ) -> SubmitJobResult:
        """Commit what became of a send. A database that blinks now would cost a look-up: it gets a
        few tries.
        """
        for pause_seconds in RECORD_PAUSES_SECONDS:
            try:
                async with self.database.as_user(ref.user_id) as conn:
                    return await record_answer(conn, ref, number, answer)
            except DATABASE_DOWN as error:
                log.warning(
                    "an answer could not be committed yet", **_ids(ref), reason=type(error).__name__
                )
                await asyncio.sleep(pause_seconds)
        async with self.database.as_user(ref.user_id) as conn:
            return await record_answer(conn, ref, number, answer)

    @activity.defn(name="find_job")
    async def find(self, ref: JobRef) -> FindJobResult:
        """Look for a send whose answer is not known, until something is known or nothing more is to
        be expected.

        Repeating is safe: it sends nothing.
        """
        finder = Finder(
            database=self.database, providers=self.providers, wakeups=self.wakeups, keys=self.keys
        )
        return await finder.find(ref)

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
                asked_for_seconds = 0.0
                if look or pacing.poll_is_due(job):
                    try:
                        report = await self._poll(ref, job, job.handle)
                    except ProviderUnavailableError as error:
                        metrics.PROVIDER_CALLS.labels(job.provider, "status", "unavailable").inc()
                        log.info("poll failed", **_ids(ref), reason=str(error))
                        asked_for_seconds = error.retry_after_seconds
                    else:
                        if report is not None:
                            return WaitJobResult(state=report.state)
                if pacing.time_is_up(job):
                    return WaitJobResult(state=JobState.SUBMITTED)
                seconds = pacing.jittered(pacing.poll_seconds(job), random())  # noqa: S311 - only spreads
                await pause(pacing.not_sooner(seconds, asked_for_seconds), wake)
                look = True

    async def _poll(self, ref: JobRef, job: JobRecord, handle: ProviderHandle) -> JobReport | None:
        """Ask how the job stands; its report, kept, if it has ended. Raises
        ProviderUnavailableError.
        """
        provider = await self.keys.of_job(self.providers, job)
        if provider is None:
            return None
        with metrics.timed(metrics.PROVIDER_CALL_DURATION.labels(job.provider, "status")):
            report = await provider.status(handle)
        metrics.PROVIDER_CALLS.labels(job.provider, "status", "answered").inc()
        if not report.state.ended:
            return None
        async with self.database.as_user(ref.user_id) as conn:
            await mark_reported(conn, ref.job_id, report)
        return report

    @activity.defn(name="cancel_job")
    async def cancel(self, ref: JobRef) -> CancelJobResult:
        """Ask the provider to end a running job, once. What it then did, and what that cost, is
        read by `wait`.

        Only a try that got no answer is repeated; a new run of the workflow, or a second order,
        asks no more.
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
                settled_nano_usd = await settle_ended(conn, self.providers, job)
            ended = await get_job(conn, ref.job_id)
            money = await get_money(conn, ref.execution_id)
        if not job.state.ended:
            _count(ended, settled_nano_usd)
            log.info(
                "job settled", **_ids(ref), state=ended.state, settled_nano_usd=settled_nano_usd
            )
        return SettleJobResult(
            state=ended.state,
            failure=ended.failure,
            execution_spent_nano_usd=money.settled_nano_usd,
        )

    async def _get(self, ref: JobRef) -> JobRecord:
        async with self.database.as_user(ref.user_id) as conn:
            return await get_job(conn, ref.job_id)

    def _callback_url(self, job: JobRecord, number: int) -> str | None:
        base = self.callback_urls.get(job.provider)
        return f"{base}/{self.tokens.sign(job.job_id, number)}" if base is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    """job: as it was before, but for the key that it is sent with."""

    job: JobRecord
    provider: Provider
    request: CreateRequest
    number: int
    serial: int
    passed: Passed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """No intent: its provider has no room for this job, or takes nothing now. job: with the key it
    would go with.
    """

    job: JobRecord
    held: HeldBack


async def _without_provider(conn: Connection, ref: JobRef, job: JobRecord) -> SubmitJobResult:
    """Nobody to send it to. With a key of its user's own that cannot be opened now: an operator may
    mend that.
    """
    if job.provider_key_id is None:
        return await refuse_unsent(conn, ref, Failure.of(FailureCode.PROVIDER_MODEL_UNAVAILABLE))
    return SubmitJobResult(
        outcome=SubmitOutcome.NOT_SENT, failure=Failure.of(FailureCode.INTERNAL_ERROR)
    )


def _seed(job_id: JobId, number: int) -> int:
    """A seed that only this send has, so that a look-up can match it exactly.

    31 bits: the least that all models take.
    """
    return int.from_bytes(sha256(f"{job_id}/{number}".encode()).digest()[:4], "big") >> 1


def _count(job: JobRecord, settled_nano_usd: int) -> None:
    metrics.COST_NANO_USD.labels(job.provider, job.model).inc(settled_nano_usd)
    if job.submitted_at is not None:
        seconds = (job.now - job.submitted_at).total_seconds()
        metrics.JOB_DURATION.labels(job.provider, job.model, job.state.value).observe(seconds)


def _ids(ref: JobRef) -> dict[str, str]:
    return {"execution_id": ref.execution_id, "job_id": ref.job_id}
