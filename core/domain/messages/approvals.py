"""Messages about approval steps, which wait for a decision of the user."""

from dataclasses import dataclass

from core.domain.failures import Failure
from core.domain.messages.jobs import JobRef
from core.domain.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalOrder:
    """A look at an approval step's job, which the first look opens.

    input_failure: why the file of an option could not be stored. is_idle: nothing else of the
    execution can continue without a decision, so it gives up its slot.
    """

    job: JobRef
    input_failure: Failure | None = None
    is_idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalResult:
    """The job after a look. WAITING: it has no decision; it expires in seconds_left.

    COMPLETED: an option was chosen. CANCELLED: all were rejected. FAILED: it expired, or no option
    is left.
    """

    state: JobState
    failure: Failure | None = None
    seconds_left: float = 0.0
