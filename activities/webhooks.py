"""Activities of webhook deliveries: first attempt, attempt and finish.

Each attempt is recorded before it begins and after it ends, with the health of its endpoint.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from core.domain.messages.webhooks import (
    AttemptOutcome,
    AttemptResult,
    DeliveryOrder,
    DisabledReason,
    FailedReason,
    WebhookState,
)
from core.platform.crypto.sealing import Sealer
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import (
    ENDPOINTS_DISABLED,
    WEBHOOK_ATTEMPTS,
    WEBHOOK_FIRST_ATTEMPT,
    WEBHOOKS_PUT_BACK,
)
from core.platform.temporal.heartbeats import heartbeats, shielded
from core.platform.temporal.policies import FIRST_ATTEMPT_SECONDS
from core.store.database import Connection, Database, after_commit
from core.store.webhooks import events as webhooks
from core.store.webhooks.endpoint_health import Disabled, disable, note_failure, note_success
from core.store.webhooks.first_attempts import expect_retry, take_first_attempt
from core.store.webhooks.signing_secrets import SigningSecrets, find_signing_secrets
from core.webhooks.concurrency import AttemptSlots, slot_retry_seconds
from core.webhooks.relay import relay_webhook
from core.webhooks.retry_schedule import retry_delay_seconds
from core.webhooks.sender import Answer, AttemptError, WebhookHttpSettings, post_webhook
from core.webhooks.signing import SigningError, sign_webhook

log = get_logger(__name__)

NOT_DELIVERED: Final = "WebhookNotDelivered"
NO_SLOT: Final = "WebhookPutBack"
"""Error types in Temporal. The second is a wire name."""
OWN_ERRORS: Final = frozenset({AttemptError.SECRET_UNUSABLE, AttemptError.NO_LISTENER})
"""Errors that do not count against the endpoint: of this service, and without a listener."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempted:
    """An attempt. again: the error by which Temporal makes the next one; None: it is over."""

    result: AttemptResult
    again: ApplicationError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookActivities:
    """The clients of the webhook activities. http: the limits of one attempt."""

    database: Database
    sealer: Sealer
    http: WebhookHttpSettings = field(default_factory=WebhookHttpSettings)
    slots: AttemptSlots = field(default_factory=AttemptSlots)

    @activity.defn(name="attempt_webhook")
    async def attempt(self, order: DeliveryOrder) -> AttemptResult:
        """Make one attempt. Return when the delivery is over, otherwise raise with the next delay.

        A delivery is over when it was delivered, its schedule is exhausted, or its endpoint is gone
        or disabled. Without a free slot for its endpoint it raises without an attempt.

        Repeating is safe: body and id never change, and a delivery that is over is not sent. If a
        worker dies after the receiver accepted, the webhook arrives twice with the same
        `webhook-id`.
        """
        async with heartbeats():
            attempted = await self._attempt(order)
        if attempted.again is not None:
            raise attempted.again
        return attempted.result

    @activity.defn(name="deliver_webhook_once")
    async def attempt_first(self, order: DeliveryOrder) -> AttemptResult:
        """Make the first attempt, as a step of the execution's workflow.

        Unlike `attempt` it returns RETRY, with the pause before the next attempt, which is made by
        the delivery's own workflow. It makes no attempt if that workflow may have been started.

        Repeating is safe, as for `attempt`. The attempt is recorded even if the workflow has ended
        meanwhile, because a retry of the execution needed its id: then the reconciler starts what
        follows.
        """
        async with heartbeats():
            attempted = await shielded(self._attempt(order, first=True))
        return attempted.result

    async def _attempt(self, order: DeliveryOrder, *, first: bool = False) -> _Attempted:
        retry_seconds = slot_retry_seconds(1 if first else activity.info().attempt)
        with ExitStack() as slot:
            async with self.database.as_user(order.user_id) as conn:
                webhook = await webhooks.get_webhook(conn, order.event_id)
                if webhook.state is not WebhookState.PENDING or webhook.delivery != order.delivery:
                    return _Attempted(result=await _ended(conn, order))
                if webhook.closed is not None:
                    await webhooks.mark_failed(conn, order, webhook.closed)
                    log.info("webhook.not_sent", event_id=order.event_id, reason=webhook.closed)
                    return _Attempted(result=await _ended(conn, order))
                secrets = await find_signing_secrets(conn, order.event_id)
                release = self.slots.acquire(
                    webhook.user_id, webhook.endpoint_id, failing=webhook.failing
                )
                if release is not None:
                    slot.callback(release)
                due_seconds = FIRST_ATTEMPT_SECONDS if release is not None else retry_seconds
                if first and not await take_first_attempt(
                    conn, order, due_seconds=due_seconds, limit_seconds=FIRST_ATTEMPT_SECONDS
                ):
                    return _Attempted(result=AttemptResult(outcome=AttemptOutcome.RETRY, number=0))
                if release is None:
                    if not first:
                        # Recorded, so that the reconciler does not take it for a lost delivery.
                        await webhooks.defer_delivery(conn, order, seconds=retry_seconds)
                    return _without_slot(retry_seconds)
                begun = await webhooks.begin_attempt(conn, order, first=first)
                if begun is None:  # it ended, or a newer delivery was started
                    return _Attempted(result=await _ended(conn, order))
            return await self._send_and_record(order, webhook, secrets, begun, first=first)

    async def _send_and_record(
        self,
        order: DeliveryOrder,
        webhook: webhooks.WebhookRecord,
        secrets: SigningSecrets | None,
        begun: webhooks.BegunAttempt,
        *,
        first: bool,
    ) -> _Attempted:
        number = begun.number
        if number == 1 and order.delivery == 1:
            age = datetime.now(UTC) - webhook.created_at
            WEBHOOK_FIRST_ATTEMPT.observe(max(0.0, age.total_seconds()))
        answer = await self._send(order, webhook, secrets, number)
        # An attempt whose worker was lost delays the next one no further.
        answered = number - begun.lost
        delay = retry_delay_seconds(order, answered, answer.retry_after_seconds)
        outcome = await self._record(order, webhook, number, answer, delay=delay, first=first)
        WEBHOOK_ATTEMPTS.labels(outcome).inc()
        log.info(
            "webhook.attempted",
            event_id=order.event_id,
            execution_id=webhook.execution_id,
            endpoint_id=webhook.endpoint_id,
            delivery=order.delivery,
            number=number,
            outcome=outcome,
            status_code=answer.status_code,
            error=answer.error,
            duration_ms=answer.duration_ms,
        )
        result = AttemptResult(
            outcome=outcome,
            number=number,
            status_code=answer.status_code,
            retry_after_seconds=answer.retry_after_seconds,
        )
        if outcome is not AttemptOutcome.RETRY or delay is None:
            return _Attempted(result=result)
        return _Attempted(
            result=replace(result, pause_seconds=delay),
            again=_not_delivered(number, answer, delay),
        )

    @activity.defn(name="finish_webhook")
    async def finish(self, order: DeliveryOrder) -> AttemptResult:
        """Mark a delivery as failed that will not be attempted again.

        Repeating is safe: a delivery that has ended stays as it is.
        """
        async with self.database.as_user(order.user_id) as conn:
            await webhooks.mark_failed(conn, order, FailedReason.STOPPED)
            try:
                return await _ended(conn, order)
            except webhooks.WebhookNotFoundError:
                # Another database, or one restored from before the event. `attempt` has failed
                # visibly for days.
                return AttemptResult(outcome=AttemptOutcome.EXHAUSTED, number=0)

    async def _send(
        self,
        order: DeliveryOrder,
        webhook: webhooks.WebhookRecord,
        secrets: SigningSecrets | None,
        number: int,
    ) -> Answer:
        if webhook.listening:
            return await relay_webhook(self.database, order, number, webhook.endpoint_id)
        try:
            headers = sign_webhook(self.sealer, webhook.event_id, webhook.body, secrets)
        except SigningError:
            return Answer(duration_ms=0, error=AttemptError.SECRET_UNUSABLE)
        return await post_webhook(webhook.url, headers, webhook.body, self.http)

    async def _record(
        self,
        order: DeliveryOrder,
        webhook: webhooks.WebhookRecord,
        number: int,
        answer: Answer,
        *,
        delay: float | None,
        first: bool,
    ) -> AttemptOutcome:
        """Record the end of an attempt and the health of its endpoint. delay: before the next one.

        Return the outcome, which is EXHAUSTED if the failure disabled the endpoint.
        """
        outcome = _outcome(answer, delay)
        end = webhooks.AttemptEnd(
            duration_ms=answer.duration_ms,
            status_code=answer.status_code,
            error=answer.error,
            response_excerpt=answer.excerpt,
        )
        async with self.database.as_user(order.user_id) as conn:
            await webhooks.end_attempt(conn, order, number, end)
            if outcome is AttemptOutcome.DELIVERED:
                await webhooks.mark_delivered(conn, order)
                await note_success(conn, webhook.endpoint_id)
                return outcome
            disabled = await _note_failure(conn, webhook, answer)
            if outcome is AttemptOutcome.GONE:
                await webhooks.mark_failed(conn, order, FailedReason.GONE)
            elif outcome is AttemptOutcome.EXHAUSTED:
                await webhooks.mark_failed(conn, order, FailedReason.EXHAUSTED)
            elif disabled:
                await webhooks.mark_failed(conn, order, FailedReason.ENDPOINT_DISABLED)
                return AttemptOutcome.EXHAUSTED
            elif first and delay is not None:
                # Not a delivery that a resend has replaced meanwhile.
                current = await expect_retry(conn, order, seconds=delay)
                return outcome if current else AttemptOutcome.EXHAUSTED
        return outcome


async def _note_failure(conn: Connection, webhook: webhooks.WebhookRecord, answer: Answer) -> bool:
    """Count a failure against the endpoint. Return whether it was disabled by it."""
    if answer.error in OWN_ERRORS:
        return False
    failed_for_days = await note_failure(conn, webhook.endpoint_id)
    if answer.error is AttemptError.GONE:
        reason = DisabledReason.GONE
    elif failed_for_days:
        reason = DisabledReason.FAILING
    else:
        return False
    disabled = await disable(conn, webhook.endpoint_id, reason)
    if disabled is not None:
        after_commit(lambda: _report_disabled(webhook, disabled))
    return disabled is not None


def _report_disabled(webhook: webhooks.WebhookRecord, disabled: Disabled) -> None:
    ENDPOINTS_DISABLED.labels(disabled.reason).inc()
    log.warning(
        "endpoint.disabled",
        endpoint_id=disabled.endpoint_id,
        user_id=webhook.user_id,
        reason=disabled.reason,
        notified=disabled.notified,
    )


def _outcome(answer: Answer, delay: float | None) -> AttemptOutcome:
    if answer.error is None:
        return AttemptOutcome.DELIVERED
    if answer.error is AttemptError.GONE:
        return AttemptOutcome.GONE
    return AttemptOutcome.RETRY if delay is not None else AttemptOutcome.EXHAUSTED


async def _ended(conn: Connection, order: DeliveryOrder) -> AttemptResult:
    """Return the result of a delivery that has ended or was replaced by a newer one.

    Raises WebhookNotFoundError.
    """
    webhook = await webhooks.get_webhook(conn, order.event_id)
    delivered = webhook.state is WebhookState.DELIVERED
    return AttemptResult(
        outcome=AttemptOutcome.DELIVERED if delivered else AttemptOutcome.EXHAUSTED,
        number=await webhooks.get_last_attempt_number(conn, order),
    )


def _without_slot(pause_seconds: float) -> _Attempted:
    WEBHOOKS_PUT_BACK.inc()
    error = ApplicationError(
        "no free slot for the endpoint",
        type=NO_SLOT,
        category=ApplicationErrorCategory.BENIGN,  # nothing was attempted and nothing is wrong
        next_retry_delay=timedelta(seconds=pause_seconds),
    )
    result = AttemptResult(outcome=AttemptOutcome.RETRY, number=0, pause_seconds=pause_seconds)
    return _Attempted(result=result, again=error)


def _not_delivered(number: int, answer: Answer, delay_seconds: float) -> ApplicationError:
    return ApplicationError(
        f"attempt {number} was not accepted: {answer.error}, status {answer.status_code}",
        type=NOT_DELIVERED,
        # Expected: the receiver's failure is no alarm for this service.
        category=ApplicationErrorCategory.BENIGN,
        next_retry_delay=timedelta(seconds=delay_seconds),
    )
