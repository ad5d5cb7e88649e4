"""The paid send of a job: commit the intent, make one create call, commit its result."""

import asyncio
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from secrets import token_hex

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId
from core.domain.messages.jobs import JobRef, SettleJobResult, SubmitJobResult, SubmitOutcome
from core.domain.states import JobState
from core.jobs.key_ring import KeyRing, known_model
from core.jobs.submission.admission import ProviderAdmission, refused_failure
from core.jobs.submission.deliveries import Deliveries
from core.jobs.submission.holds import HoldTooLowError, check_hold, hold_more
from core.jobs.submission.inputs import InputNotStoredError, InputUnavailableError, resolve_inputs
from core.jobs.submission.submit_results import (
    SendResult,
    interpret,
    record_result,
    refuse_unsent,
    sent_already,
    turn_to_next_model,
)
from core.platform.clock import boot_seconds
from core.platform.crypto.callback_tokens import CallbackTokens
from core.platform.observability import metrics, tracing
from core.platform.observability.logging import get_logger
from core.platform.observability.tracing import Kind
from core.platform.temporal.policies import (
    CREATE_CALL_SECONDS,
    RECORD_PAUSES_SECONDS,
    SEND_WITHIN_SECONDS,
)
from core.providers.inputs import InputsError
from core.providers.models import ModelInputs, inputs_to_json
from core.providers.port import CreateRequest, Provider
from core.providers.registry import Providers
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.executions.limits.deadlines import continue_deadline, stop_deadline
from core.store.files.object_storage import ObjectStore
from core.store.jobs.jobs import JobRecord, get_job
from core.store.jobs.sends import begin_send, mark_send_answered, withdraw_send
from core.store.providers.capacity import Admitted, Deferral, DeferredBy
from core.store.providers.user_keys import current_key
from core.store.recovery.restore_marker import SerialWatch

log = get_logger(__name__)


class ModelNotOfferedError(Exception):
    """The model of a job, or its provider, was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """Nothing was sent: the provider has no free slot, or takes nothing now.

    job: with the key that it would be sent with.
    """

    job: JobRecord
    reason: Deferral


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A create call was made and its result is committed. job: the row before it."""

    job: JobRecord
    result: SubmitJobResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Intent:
    """A committed decision to send. job: the row before the intent, with the key of this send."""

    job: JobRecord
    provider: Provider
    request: CreateRequest
    number: int
    serial: int
    admitted: Admitted


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmitter:
    """Sends jobs to their providers.

    callback_urls: by provider, the address of its callbacks without the token. A provider that is
    missing there is polled only. deliveries: None: files in answers are fetched by a status read.
    """

    database: Database
    providers: Providers
    objects: ObjectStore
    tokens: CallbackTokens
    callback_urls: dict[str, str]
    keys: KeyRing
    serial_watch: SerialWatch = field(default_factory=SerialWatch)
    admission: ProviderAdmission = field(default_factory=ProviderAdmission)
    deliveries: Deliveries | None = None

    async def submit(
        self, ref: JobRef, *, own_key_only: bool = False
    ) -> SubmitJobResult | Sent | Deferred:
        """Send a waiting job once. Repeating is safe: a job that was sent is not sent again.

        own_key_only: send it only with its user's own key. The rate of the service's key is set on
        another task queue, and the result names the key for the workflow to choose the queue.
        """
        began, sender = boot_seconds(), token_hex(16)
        known = self.serial_watch.known
        try:
            try:
                intent = await self._intend(ref, sender, known, own_key_only=own_key_only)
            except HoldTooLowError as low:
                failure = await hold_more(self.database, ref, low.worst_nano_usd)
                if failure is not None:
                    async with self.database.as_user(ref.user_id) as conn:
                        return await refuse_unsent(conn, ref, failure)
                intent = await self._intend(ref, sender, known, own_key_only=own_key_only)
        except DATABASE_DOWN as error:
            log.warning("send.intent_interrupted", **_ids(ref), reason=type(error).__name__)
            return await self._withdraw_intent(ref, sender)
        if not isinstance(intent, _Intent):
            return intent
        self.serial_watch.note(intent.serial)
        result = await self._send(ref, intent, began)
        try:
            recorded = await self._record(ref, intent.number, result)
            await self.admission.apply(self.database, intent.job, result, intent.admitted)
            settled = await self._settle_delivered(ref, intent.job, result, recorded)
        finally:
            if result.answer.delivery is not None:
                await result.answer.delivery.close()
        return Sent(job=intent.job, result=replace(recorded, settled=settled or recorded.settled))

    async def _intend(
        self, ref: JobRef, sender: str, known: int, *, own_key_only: bool
    ) -> _Intent | SubmitJobResult | Deferred:
        """Commit the intent before any byte leaves; return a result instead if nothing is sent.

        known: the serial that was known before. Raises HoldTooLowError.
        """
        async with self.database.as_user(ref.user_id) as conn:
            intent = await self._write_intent(conn, ref, sender, own_key_only=own_key_only)
            if isinstance(intent, _Intent):
                self.serial_watch.check(known, intent.serial)
            return intent

    async def _write_intent(
        self, conn: Connection, ref: JobRef, sender: str, *, own_key_only: bool
    ) -> _Intent | SubmitJobResult | Deferred:
        """Write the intent, which the caller commits before any byte leaves.

        Return a result instead if nothing is to be sent.
        """
        job = await get_job(conn, ref.job_id)
        if job.state is not JobState.WAITING:
            return await sent_already(conn, ref, job)
        # The user's present key. Every later call about this send uses the same key.
        keyed = replace(job, provider_key_id=await current_key(conn, ref.user_id, job.provider))
        if job.late:
            return await refuse_unsent(
                conn, ref, job.failure or await self.admission.get_unsent_failure(conn, keyed)
            )
        if own_key_only and keyed.provider_key_id is None:
            return _not_on_this_queue(job)
        provider = await self.keys.open(conn, self.providers, job.provider, keyed.provider_key_id)
        if provider is None:
            return await _without_provider(conn, ref, keyed)
        number = job.send_number + 1
        try:
            request, inputs = await self.prepare(conn, keyed, number)
        except (ModelNotOfferedError, InputUnavailableError, ValueError) as error:
            return await _unprepared(conn, ref, job, error)
        await check_hold(conn, self.providers, keyed, inputs)
        admitted = await self.admission.admit(conn, keyed)
        if isinstance(admitted, Deferral):
            return await _defer(conn, ref, keyed, admitted)
        serial = await begin_send(
            conn,
            ref,
            number,
            asdict(request),
            inputs_to_json(inputs),
            sender=sender,
            provider_key_id=keyed.provider_key_id,
            calls_back=job.provider in self.callback_urls,
        )
        if serial is None:
            await self.admission.withdraw(conn, keyed, admitted)
            return await sent_already(conn, ref, await get_job(conn, ref.job_id))
        return _Intent(
            job=keyed,
            provider=provider,
            request=request,
            number=number,
            serial=serial,
            admitted=admitted,
        )

    async def prepare(
        self, conn: Connection, job: JobRecord, number: int
    ) -> tuple[CreateRequest, ModelInputs]:
        """Return the request of a send: the same each time, as long as its inputs do not change.

        Raises ModelNotOfferedError, InputUnavailableError, and ValueError for inputs that the model
        does not take.
        """
        known = known_model(self.providers, job)
        if known is None:
            raise ModelNotOfferedError(job.model)
        provider, model = known
        seed = _seed(job.job_id, number)
        inputs = await resolve_inputs(conn, self.objects, job, model, seed=seed)
        return provider.create_request(model, inputs, self._callback_url(job, number)), inputs

    async def _send(self, ref: JobRef, intent: _Intent, began: float) -> SendResult:
        """Make the one create call and interpret its answer."""
        name = intent.provider.name
        with (
            metrics.timed(metrics.PROVIDER_CALL_DURATION.labels(name, "create")),
            tracing.span(
                "provider create",
                Kind.CLIENT,
                job_id=ref.job_id,
                provider=name,
                model=intent.job.model,
            ),
        ):
            answer = await intent.provider.submit(
                intent.request,
                # The time of the intent's transaction counts.
                timeout_seconds=began + CREATE_CALL_SECONDS - boot_seconds(),
                not_after=began + SEND_WITHIN_SECONDS,
            )
            tracing.note(outcome=answer.outcome.value)
        metrics.PROVIDER_CALLS.labels(name, "create", answer.outcome.value).inc()
        log.info(
            "job.sent",
            **_ids(ref),
            provider=name,
            send=intent.number,
            outcome=answer.outcome,
            note=answer.note,
        )
        return interpret(answer, own_key=intent.job.provider_key_id is not None)

    async def _record(self, ref: JobRef, number: int, result: SendResult) -> SubmitJobResult:
        """Commit the result of a send, with a few tries: a lost result would cost a look-up."""
        for pause_seconds in RECORD_PAUSES_SECONDS:
            try:
                async with self.database.as_user(ref.user_id) as conn:
                    return await record_result(conn, ref, number, result)
            except DATABASE_DOWN as error:
                log.warning("send.result_not_committed", **_ids(ref), reason=type(error).__name__)
                await asyncio.sleep(pause_seconds)
        async with self.database.as_user(ref.user_id) as conn:
            return await record_result(conn, ref, number, result)

    async def _settle_delivered(
        self, ref: JobRef, job: JobRecord, result: SendResult, recorded: SubmitJobResult
    ) -> SettleJobResult | None:
        """Settle a job that the answer of its create call finished; None: it is read later."""
        delivery, handle = result.answer.delivery, result.answer.handle
        if self.deliveries is None or delivery is None or handle is None:
            return None
        if recorded.outcome is not SubmitOutcome.SUBMITTED:  # the id belongs to another job
            return None
        return await self.deliveries.settle(ref, job, handle, delivery)

    async def _withdraw_intent(self, ref: JobRef, sender: str) -> SubmitJobResult:
        """Undo an intent whose COMMIT got no answer: it may be committed, but nothing was sent.

        Raises the database's errors while it stays down; `find` then reads the job's row later.
        """
        async with self.database.as_user(ref.user_id) as conn:
            number = await withdraw_send(conn, ref.job_id, sender)
            if number is None:
                return await sent_already(conn, ref, await get_job(conn, ref.job_id))
            await mark_send_answered(
                conn, ref.job_id, number, "not_accepted", note="not sent: COMMIT got no answer"
            )
        log.warning("send.intent_taken_back", **_ids(ref), send=number)
        return SubmitJobResult(outcome=SubmitOutcome.NOT_SENT, send_number=number)

    def _callback_url(self, job: JobRecord, number: int) -> str | None:
        base = self.callback_urls.get(job.provider)
        if base is None:
            return None
        token = self.tokens.sign(job.provider, job.job_id, number, job.provider_key_id)
        return f"{base}/{token}"


async def _defer(
    conn: Connection, ref: JobRef, job: JobRecord, reason: Deferral
) -> SubmitJobResult | Deferred:
    """Leave a job waiting, or continue at its next model while its provider accepts nothing."""
    if job.cancel_requested:
        return await sent_already(conn, ref, job)
    if reason.by is DeferredBy.BREAKER:  # a refusal, not a queue
        result = await turn_to_next_model(conn, ref, refused_failure(job))
        if result is not None:
            return result
        await continue_deadline(conn, ref.execution_id, ref.generation)
    else:
        await stop_deadline(conn, ref.execution_id, ref.generation)
    return Deferred(job=job, reason=reason)


def _not_on_this_queue(job: JobRecord) -> SubmitJobResult:
    """Return the result for a job whose user no longer has a key of their own."""
    return SubmitJobResult(
        outcome=SubmitOutcome.NOT_SENT,
        held_back=True,
        own_key=False,
        failure=job.failure,
        send_number=job.send_number,
    )


async def _unprepared(
    conn: Connection,
    ref: JobRef,
    job: JobRecord,
    error: ModelNotOfferedError | InputUnavailableError | ValueError,
) -> SubmitJobResult:
    """Fail a job whose request cannot be made, or send it once its input is stored."""
    if isinstance(error, InputNotStoredError):
        return SubmitJobResult(
            outcome=SubmitOutcome.NOT_SENT, failure=error.failure, send_number=job.send_number
        )
    return await refuse_unsent(conn, ref, _unpreparable(ref, error))


async def _without_provider(conn: Connection, ref: JobRef, job: JobRecord) -> SubmitJobResult:
    """Return the result for a job whose provider cannot be called.

    A user's key that cannot be opened may be repaired by an operator, so that job is tried again.
    """
    if job.provider_key_id is None:
        return await refuse_unsent(conn, ref, Failure.of(FailureCode.PROVIDER_MODEL_UNAVAILABLE))
    return SubmitJobResult(
        outcome=SubmitOutcome.NOT_SENT, failure=Failure.of(FailureCode.INTERNAL_ERROR)
    )


def _unpreparable(
    ref: JobRef, error: ModelNotOfferedError | InputUnavailableError | ValueError
) -> Failure:
    """Return why a request cannot be made; no retry can heal it."""
    if isinstance(error, ModelNotOfferedError):
        return Failure.of(FailureCode.PROVIDER_MODEL_UNAVAILABLE)
    if isinstance(error, InputUnavailableError):
        return error.failure
    if isinstance(error, InputsError) and all(fault.of_file for fault in error.violations):
        # The file of another step, which was not known when the plan was accepted.
        details = "; ".join(f"{fault.name} {fault.detail}" for fault in error.violations)
        return Failure.of(FailureCode.MEDIA_UNSUPPORTED, details)
    # Validation accepted a plan whose inputs the model does not take: a bug in this service.
    log.error("job.inputs_rejected", **_ids(ref), reason=str(error))
    return Failure.of(FailureCode.INTERNAL_ERROR)


def _seed(job_id: JobId, number: int) -> int:
    """Return a seed that only this send has, so that a look-up can match it exactly.

    It has 31 bits, the smallest range of all models.
    """
    return int.from_bytes(sha256(f"{job_id}/{number}".encode()).digest()[:4], "big") >> 1


def _ids(ref: JobRef) -> dict[str, str]:
    return {"execution_id": ref.execution_id, "job_id": ref.job_id}
