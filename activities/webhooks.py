"""Tries to deliver a webhook: each recorded before it begins and after it ends."""

import hashlib
import time
from datetime import timedelta
from typing import Final, NoReturn

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.beats import beating
from activities.webhook_http import Answer, AttemptError, WebhookHttpSettings, post_webhook
from contracts.webhooks import AttemptOutcome, AttemptResult, DeliveryOrder, WebhookState
from runtime.encryption import SealError, SecretBox
from runtime.logging import get_logger
from runtime.metrics import WEBHOOK_ATTEMPTS
from runtime.policies import JITTER, MAX_RETRY_AFTER_SECONDS, RETRY_DELAYS_SECONDS
from runtime.signing import UnusableSecretError, signature_headers
from store import webhooks
from store.database import Connection, Database

log = get_logger(__name__)

NOT_DELIVERED: Final = "WebhookNotDelivered"


def retry_delay_seconds(order: DeliveryOrder, number: int, retry_after_seconds: float | None) -> float | None:
    """How long to wait after the try of this number; None: the schedule is over. The same for the same try, always."""
    if number > len(RETRY_DELAYS_SECONDS):
        return None
    digest = hashlib.sha256(f"{order.event_id}/{order.delivery}/{number}".encode()).digest()
    spread = int.from_bytes(digest[:8], "big") / 2**63 - 1  # -1 to 1
    delay = RETRY_DELAYS_SECONDS[number - 1] * (1 + JITTER * spread)
    return max(delay, min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS))


class WebhookActivities:
    """Given the database, the box that opens the secrets, and the limits of one try."""

    def __init__(self, database: Database, secrets: SecretBox, http: WebhookHttpSettings | None = None) -> None:
        self._database = database
        self._secrets = secrets
        self._http = http or WebhookHttpSettings()

    @activity.defn(name="attempt_webhook")
    async def attempt(self, order: DeliveryOrder) -> AttemptResult:
        """One try. Returns when the delivery is over (delivered, gone, exhausted); else raises with the next delay.

        Safe to repeat: the body and the id are the same each time, and what was delivered or given up is not sent.
        A worker that dies after the receiver said 2xx makes it arrive twice; the receiver knows it by its `webhook-id`.
        """
        async with beating():
            return await self._attempt(order)

    async def _attempt(self, order: DeliveryOrder) -> AttemptResult:
        async with self._database.as_user(order.user_id) as conn:
            number = await webhooks.begin_attempt(conn, order)
            if number is None:
                return await _ended(conn, order)
            webhook = await webhooks.get_webhook(conn, order.event_id)
        answer = await self._send(webhook)
        delay = retry_delay_seconds(order, number, answer.retry_after_seconds)
        outcome = _outcome(answer, delay)
        await self._record(order, number, answer, outcome)
        WEBHOOK_ATTEMPTS.labels(outcome).inc()
        log.info(
            "webhook attempted",
            event_id=order.event_id,
            execution_id=webhook.execution_id,
            delivery=order.delivery,
            number=number,
            outcome=outcome,
            status_code=answer.status_code,
            error=answer.error,
            duration_ms=answer.duration_ms,
        )
        if outcome is AttemptOutcome.RETRY and delay is not None:
            _raise_retry(number, answer, delay)
        return AttemptResult(
            outcome=outcome,
            number=number,
            status_code=answer.status_code,
            retry_after_seconds=answer.retry_after_seconds,
        )

    @activity.defn(name="finish_webhook")
    async def finish(self, order: DeliveryOrder) -> AttemptResult:
        """End a delivery that will not be tried again, visibly. What was delivered stays so. Repeating is safe."""
        async with self._database.as_user(order.user_id) as conn:
            await webhooks.mark_failed(conn, order)
            try:
                return await _ended(conn, order)
            except webhooks.WebhookNotFoundError:
                # The wrong database, or one restored to before the event: `attempt` has failed loudly for days by now.
                return AttemptResult(outcome=AttemptOutcome.EXHAUSTED, number=0)

    async def _send(self, webhook: webhooks.WebhookRecord) -> Answer:
        try:
            secret = self._secrets.open(webhook.secret_sealed, context=webhook.secret_context).decode()
            headers = signature_headers(secret, webhook.event_id, int(time.time()), webhook.body)
        except (SealError, UnusableSecretError, UnicodeDecodeError) as problem:
            # Not sent unsigned; tried again by the schedule, as an operator may bring a missing key back.
            log.warning("a webhook cannot be signed", event_id=webhook.event_id, reason=type(problem).__name__)
            return Answer(duration_ms=0, error=AttemptError.SECRET_UNUSABLE)
        return await post_webhook(webhook.url, headers, webhook.body, self._http)

    async def _record(self, order: DeliveryOrder, number: int, answer: Answer, outcome: AttemptOutcome) -> None:
        end = webhooks.AttemptEnd(
            duration_ms=answer.duration_ms,
            status_code=answer.status_code,
            error=answer.error,
            response_excerpt=answer.excerpt,
        )
        async with self._database.as_user(order.user_id) as conn:
            await webhooks.end_attempt(conn, order, number, end)
            if outcome is AttemptOutcome.DELIVERED:
                await webhooks.mark_delivered(conn, order)
            elif outcome is not AttemptOutcome.RETRY:
                await webhooks.mark_failed(conn, order)


def _outcome(answer: Answer, delay: float | None) -> AttemptOutcome:
    if answer.error is None:
        return AttemptOutcome.DELIVERED
    if answer.error is AttemptError.GONE:
        return AttemptOutcome.GONE
    return AttemptOutcome.RETRY if delay is not None else AttemptOutcome.EXHAUSTED


async def _ended(conn: Connection, order: DeliveryOrder) -> AttemptResult:
    """Of a delivery with nothing left to try: it has ended, or a newer one took over. Raises WebhookNotFoundError."""
    webhook = await webhooks.get_webhook(conn, order.event_id)
    delivered = webhook.state is WebhookState.DELIVERED
    return AttemptResult(
        outcome=AttemptOutcome.DELIVERED if delivered else AttemptOutcome.EXHAUSTED,
        number=await webhooks.get_last_attempt_number(conn, order),
    )


def _raise_retry(number: int, answer: Answer, delay_seconds: float) -> NoReturn:
    raise ApplicationError(
        f"try {number} was not taken: {answer.error}, status {answer.status_code}",
        type=NOT_DELIVERED,
        category=ApplicationErrorCategory.BENIGN,  # expected, and no alarm: the receiver's trouble, not ours
        next_retry_delay=timedelta(seconds=delay_seconds),
    )
