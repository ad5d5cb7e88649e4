"""Messages about webhooks: events that are delivered to a user's endpoint."""

from dataclasses import dataclass
from enum import StrEnum

from core.domain.ids import EventId, UserId


class EventType(StrEnum):
    """The type of an event about an execution, the account, or an endpoint."""

    EXECUTION_COMPLETED = "execution.completed"
    EXECUTION_FAILED = "execution.failed"
    EXECUTION_CANCELLED = "execution.cancelled"
    VIDEO_COMPLETED = "video.completed"
    VIDEO_FAILED = "video.failed"
    EXECUTION_WAITING = "execution.waiting_for_approval"
    BUDGET_THRESHOLD_REACHED = "budget.threshold_reached"
    ENDPOINT_DISABLED = "endpoint.disabled"
    ENDPOINT_TEST = "endpoint.test"


class WebhookState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class FailedReason(StrEnum):
    """Why a delivery failed. STOPPED: an operator ended the delivery, or its time ran out."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    STOPPED = "stopped"


class EndpointKind(StrEnum):
    """Where an endpoint's events go: to its URL, or to the open stream of a listener."""

    URL = "url"
    STREAM = "stream"


class DisabledReason(StrEnum):
    """Why an endpoint is disabled.

    USER: by the user. GONE: the receiver returned 410. FAILING: all attempts failed for days.
    """

    USER = "user"
    GONE = "gone"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOrder:
    """The delivery of one event.

    delivery: 1 for the first, then one more for each resend; the body is always the same.
    """

    user_id: UserId
    event_id: EventId
    delivery: int = 1


class AttemptOutcome(StrEnum):
    """The result of an attempt.

    DELIVERED: the receiver returned 2xx.
    RETRY: another attempt follows by the schedule.
    GONE: the receiver returned 410, so no attempt follows.
    EXHAUSTED: the schedule has no further attempt.
    """

    DELIVERED = "delivered"
    RETRY = "retry"
    GONE = "gone"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """The result of an attempt. number: within the delivery; 0: nothing was attempted.

    pause_seconds: the pause before the next attempt, of a first attempt with the outcome RETRY.
    """

    outcome: AttemptOutcome
    number: int
    status_code: int | None = None
    retry_after_seconds: float | None = None
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStart:
    """A delivery whose first attempt did not deliver. pause_seconds: before the next attempt."""

    delivery: DeliveryOrder
    pause_seconds: float = 0.0
