"""Tries to deliver a webhook: each recorded before it begins and after it ends, with what it tells
of its endpoint.
"""

import hashlib
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Final, NoReturn

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
from core.platform.crypto.sealing import Sealer, SealError
from core.platform.crypto.webhook_signatures import (
    UnusableSecretError,
    signature_headers,
    standard_webhooks_key,
)
from core.platform.observability.logging import get_logger
from core.platform.observability.metrics import (
    ENDPOINTS_DISABLED,
    WEBHOOK_ATTEMPTS,
    WEBHOOKS_PUT_BACK,
)
from core.platform.temporal.heartbeats import beating
from core.platform.temporal.policies import (
    JITTER,
    MAX_RETRY_AFTER_SECONDS,
    RETRY_DELAYS_SECONDS,
    TRIES_PER_USER,
)
from core.store.database import Connection, Database, after_commit
from core.store.webhooks import events as webhooks
from core.store.webhooks.endpoint_health import Disabled, disable, note_failure, note_success
from core.store.webhooks.signing_secrets import SigningSecrets, find_signing_secrets
from core.webhooks.concurrency import EndpointRooms, PutBack
from core.webhooks.sender import Answer, AttemptError, WebhookHttpSettings, post_webhook

log = get_logger(__name__)

NOT_DELIVERED: Final = "WebhookNotDelivered"
PUT_BACK: Final = "WebhookPutBack"
OURS: Final = frozenset({AttemptError.SECRET_UNUSABLE})
"""Errors that say nothing about the receiver."""


def retry_delay_seconds(
    order: DeliveryOrder, number: int, retry_after_seconds: float | None
) -> float | None:
    """How long to wait after the try of this number; None: the schedule is over. The same for the
    same try, always.
    """
    if number > len(RETRY_DELAYS_SECONDS):
        return None
    digest = hashlib.sha256(f"{order.event_id}/{order.delivery}/{number}".encode()).digest()
    spread = int.from_bytes(digest[:8], "big") / 2**64  # 0 to 1
    delay = RETRY_DELAYS_SECONDS[number - 1] * (1 + JITTER * spread)
    return max(delay, min(retry_after_seconds or 0.0, MAX_RETRY_AFTER_SECONDS))


class WebhookActivities:
    """Given the database, the box that opens the secrets, the limits of one try, and of those at
    once.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        http: WebhookHttpSettings | None = None,
        rooms: EndpointRooms | None = None,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._http = http or WebhookHttpSettings()
        self._rooms = rooms or EndpointRooms(per_user=TRIES_PER_USER)

    @activity.defn(name="attempt_webhook")
    async def attempt(self, order: DeliveryOrder) -> AttemptResult:
        """One try. Returns when the delivery is over (delivered, gone, exhausted, its endpoint
        disabled); else raises with the next delay. Where its endpoint has no room now, it raises
        without a try.

        Safe to repeat: the body and the id are the same each time, and what was delivered or given
        up is not sent. A worker that dies after the receiver said 2xx makes it arrive twice; the
        receiver knows it by its `webhook-id`.
        """
        async with beating():
            return await self._attempt(order)

    async def _attempt(self, order: DeliveryOrder) -> AttemptResult:
        with ExitStack() as room:
            async with self._database.as_user(order.user_id) as conn:
                webhook = await webhooks.get_webhook(conn, order.event_id)
                if webhook.state is not WebhookState.PENDING or webhook.delivery != order.delivery:
                    return await _ended(conn, order)
                if webhook.closed is not None:
                    await webhooks.mark_failed(conn, order, webhook.closed)
                    log.info("webhook not sent", event_id=order.event_id, reason=webhook.closed)
                    return await _ended(conn, order)
                secrets = await find_signing_secrets(conn, order.event_id)
                begun = await self._begin(conn, order, webhook, room)
                if begun is None:
                    return await _ended(conn, order)
            if isinstance(begun, PutBack):
                _raise_put_back(begun)
            return await self._try(order, webhook, secrets, begun)

    async def _begin(
        self,
        conn: Connection,
        order: DeliveryOrder,
        webhook: webhooks.WebhookRecord,
        room: ExitStack,
    ) -> int | PutBack | None:
        """The number of the try, with room for it until the stack is closed; None: somebody ended
        it just now.
        """
        entered = self._rooms.enter(webhook.user_id, webhook.endpoint_id, failing=webhook.failing)
        if isinstance(entered, PutBack):
            await webhooks.put_back(conn, order, seconds=entered.seconds)
            return entered
        room.callback(entered)
        return await webhooks.begin_attempt(conn, order)

    async def _try(
        self,
        order: DeliveryOrder,
        webhook: webhooks.WebhookRecord,
        secrets: SigningSecrets | None,
        number: int,
    ) -> AttemptResult:
        answer = await self._send(webhook, secrets)
        delay = retry_delay_seconds(order, number, answer.retry_after_seconds)
        outcome = await self._record(order, webhook, number, answer, _outcome(answer, delay))
        WEBHOOK_ATTEMPTS.labels(outcome).inc()
        log.info(
            "webhook attempted",
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
        """End a delivery that will not be tried again, visibly. What was delivered stays so.
        Repeating is safe.
        """
        async with self._database.as_user(order.user_id) as conn:
            await webhooks.mark_failed(conn, order, FailedReason.STOPPED)
            try:
                return await _ended(conn, order)
            except webhooks.WebhookNotFoundError:
                # The wrong database, or one restored to before the event: `attempt` has failed
                # loudly for days by now.
                return AttemptResult(outcome=AttemptOutcome.EXHAUSTED, number=0)

    async def _send(
        self, webhook: webhooks.WebhookRecord, secrets: SigningSecrets | None
    ) -> Answer:
        if secrets is None:
            log.error("webhook.signing_secret_missing", event_id=webhook.event_id)
            return Answer(duration_ms=0, error=AttemptError.SECRET_UNUSABLE)
        try:
            secret = secrets.current.open(self._sealer)
            previous = self._previous(webhook, secrets)
            headers = signature_headers(
                secret, webhook.event_id, int(time.time()), webhook.body, previous=previous
            )
        except (SealError, UnusableSecretError, UnicodeDecodeError) as problem:
            # Not sent unsigned; tried again by the schedule, as an operator may bring a missing key
            # back.
            log.warning(
                "a webhook cannot be signed",
                event_id=webhook.event_id,
                reason=type(problem).__name__,
            )
            return Answer(duration_ms=0, error=AttemptError.SECRET_UNUSABLE)
        return await post_webhook(webhook.url, headers, webhook.body, self._http)

    def _previous(self, webhook: webhooks.WebhookRecord, secrets: SigningSecrets) -> str | None:
        """The secret that is being replaced. One that cannot be used keeps nothing from being
        signed with the new.
        """
        if secrets.previous is None:
            return None
        try:
            previous = secrets.previous.open(self._sealer)
            standard_webhooks_key(previous)
        except (SealError, UnusableSecretError, UnicodeDecodeError) as problem:
            log.warning(
                "a previous secret cannot be used",
                event_id=webhook.event_id,
                reason=type(problem).__name__,
            )
            return None
        return previous

    async def _record(
        self,
        order: DeliveryOrder,
        webhook: webhooks.WebhookRecord,
        number: int,
        answer: Answer,
        outcome: AttemptOutcome,
    ) -> AttemptOutcome:
        """Write down how a try ended, and how its endpoint fares by it: if that ends it, the
        delivery is over.
        """
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
        return outcome


async def _note_failure(conn: Connection, webhook: webhooks.WebhookRecord, answer: Answer) -> bool:
    """True: the endpoint is disabled by this failure, and its user told."""
    if answer.error in OURS:
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
        after_commit(lambda: _tell_disabled(webhook, disabled))
    return disabled is not None


def _tell_disabled(webhook: webhooks.WebhookRecord, disabled: Disabled) -> None:
    ENDPOINTS_DISABLED.labels(disabled.reason).inc()
    log.warning(
        "endpoint disabled",
        endpoint_id=disabled.endpoint_id,
        user_id=webhook.user_id,
        reason=disabled.reason,
        told=disabled.told,
    )


def _outcome(answer: Answer, delay: float | None) -> AttemptOutcome:
    if answer.error is None:
        return AttemptOutcome.DELIVERED
    if answer.error is AttemptError.GONE:
        return AttemptOutcome.GONE
    return AttemptOutcome.RETRY if delay is not None else AttemptOutcome.EXHAUSTED


async def _ended(conn: Connection, order: DeliveryOrder) -> AttemptResult:
    """Of a delivery with nothing left to try: it has ended, or a newer one took over. Raises
    WebhookNotFoundError.
    """
    webhook = await webhooks.get_webhook(conn, order.event_id)
    delivered = webhook.state is WebhookState.DELIVERED
    return AttemptResult(
        outcome=AttemptOutcome.DELIVERED if delivered else AttemptOutcome.EXHAUSTED,
        number=await webhooks.get_last_attempt_number(conn, order),
    )


def _raise_put_back(put_back: PutBack) -> NoReturn:
    WEBHOOKS_PUT_BACK.inc()
    raise ApplicationError(
        "its endpoint has no room now",
        type=PUT_BACK,
        category=ApplicationErrorCategory.BENIGN,  # nothing was tried, and nothing is wrong with us
        next_retry_delay=timedelta(seconds=put_back.seconds),
    )


def _raise_retry(number: int, answer: Answer, delay_seconds: float) -> NoReturn:
    raise ApplicationError(
        f"try {number} was not taken: {answer.error}, status {answer.status_code}",
        type=NOT_DELIVERED,
        # expected, and no alarm: the receiver's trouble, not ours
        category=ApplicationErrorCategory.BENIGN,
        next_retry_delay=timedelta(seconds=delay_seconds),
    )
