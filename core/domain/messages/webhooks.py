"""Messages about webhooks: events that we deliver to a user's address."""

from dataclasses import dataclass
from enum import StrEnum

from core.domain.ids import EventId, UserId


class EventType(StrEnum):
    """What a user is told: about an execution, the account, or an endpoint."""

    EXECUTION_COMPLETED = "execution.completed"
    EXECUTION_FAILED = "execution.failed"
    EXECUTION_CANCELLED = "execution.cancelled"
    BUDGET_THRESHOLD_REACHED = "budget.threshold_reached"
    ENDPOINT_DISABLED = "endpoint.disabled"
    ENDPOINT_TEST = "endpoint.test"


class WebhookState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class FailedReason(StrEnum):
    """Why nobody tries any more. STOPPED: an operator ended the delivery, or it ran out of time."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    STOPPED = "stopped"


class DisabledReason(StrEnum):
    """Why nothing is sent to an endpoint. USER: asked for. GONE: it said 410. FAILING: for days
    nothing else.
    """

    USER = "user"
    GONE = "gone"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOrder:
    """Deliver one event. delivery: 1 for the first, counts up with every resend; the body is the
    same for all of them.
    """

    user_id: UserId
    event_id: EventId
    delivery: int = 1


class AttemptOutcome(StrEnum):
    """DELIVERED: 2xx. RETRY: try again by the schedule. GONE: the receiver said 410, never again.

    EXHAUSTED: the schedule is over.
    """

    DELIVERED = "delivered"
    RETRY = "retry"
    GONE = "gone"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    outcome: AttemptOutcome
    number: int
    status_code: int | None = None
    retry_after_seconds: float | None = None
