"""Messages about webhooks: events that we deliver to a user's address."""

from dataclasses import dataclass
from enum import StrEnum

from contracts.ids import EventId, UserId


class EventType(StrEnum):
    """What a user is told: about an execution, or about the account."""

    EXECUTION_COMPLETED = "execution.completed"
    EXECUTION_FAILED = "execution.failed"
    EXECUTION_CANCELLED = "execution.cancelled"
    BUDGET_THRESHOLD_REACHED = "budget.threshold_reached"


class WebhookState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryOrder:
    """Deliver one event. delivery: 1 for the first, counts up with every resend; the body is the same for all of
    them.
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
