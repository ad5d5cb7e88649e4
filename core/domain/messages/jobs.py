"""Messages about jobs: between workflow and activities, and between activities, providers and
store.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId, UserId
from core.domain.money import NanoUsd
from core.domain.plans import StepKind
from core.domain.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """Names a job to an activity. Everything else about it lives in rows."""

    user_id: UserId
    execution_id: ExecutionId
    job_id: JobId
    generation: int


def key_scope(provider: str, provider_key_id: ProviderKeyId | None) -> str:
    """By whose key a provider is asked: its name for the service's, and with `/pkey_…` for a user's
    own.

    Limits, pauses and breakers are kept by it: what a provider says of one key holds for no other.
    """
    return provider if provider_key_id is None else f"{provider}/{provider_key_id}"


class SubmitOutcome(StrEnum):
    """SUBMITTED: the provider has it. NOT_SENT: certainly not accepted, may be sent again.

    REFUSED: it has failed for good.

    UNKNOWN: look it up. STOPPED: the execution is cancelled or of another generation, nothing was
    sent. ENDED: the job had already ended (a retry that reuses it, a replayed history).
    """

    SUBMITTED = "submitted"
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STOPPED = "stopped"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJobResult:
    """retry_after_seconds: what the provider asked for, with NOT_SENT; 0 if it did not say.
    held_back: with NOT_SENT, by us: there was no room at the provider, or it takes nothing now.
    It was not tried.

    send_number, provider_job_id, provider_key_id: as they are in the job's row now. Nobody decides
    by them: from the history they are known when the database was restored to the past.
    """

    outcome: SubmitOutcome
    retry_after_seconds: float = 0.0
    failure: Failure | None = None
    send_number: int = 0
    provider_job_id: ProviderJobId | None = None
    held_back: bool = False
    provider_key_id: ProviderKeyId | None = None


class FindOutcome(StrEnum):
    """FOUND: the provider has it. ABSENT: it was never accepted, and may be sent. ENDED: it has
    ended meanwhile.

    GIVEN_UP: past its deadline nobody knows; the job has failed, its hold stays.
    """

    FOUND = "found"
    ABSENT = "absent"
    ENDED = "ended"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class FindJobResult:
    """send_number, provider_job_id, provider_key_id: as in SubmitJobResult."""

    outcome: FindOutcome
    failure: Failure | None = None
    send_number: int = 0
    provider_job_id: ProviderJobId | None = None
    provider_key_id: ProviderKeyId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitJobResult:
    """The report itself is in the job's row: what a provider produced is not for histories."""

    state: JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleJobResult:
    """execution_spent_nano_usd: what the whole execution has spent so far."""

    state: JobState
    execution_spent_nano_usd: NanoUsd
    failure: Failure | None = None


class CancelOutcome(StrEnum):
    """CANCELLED: it will not run. REQUESTED: it may still complete. TOO_LATE: it had ended.

    NOTHING: there was nothing to cancel.
    """

    CANCELLED = "cancelled"
    REQUESTED = "requested"
    TOO_LATE = "too_late"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJobResult:
    outcome: CancelOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHandle:
    """How a provider knows a job. urls: addresses it gave with the id, by the provider's own names;
    empty after an adoption by id alone.
    """

    provider: str
    model: str
    provider_job_id: ProviderJobId
    urls: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that a provider produced, at the provider's address."""

    url: str
    kind: StepKind


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """What a provider says of a job, in our words. Unknown provider statuses are SUBMITTED: still
    running.

    billed_units: the quantity the provider says it billed, in the model's own unit, as exact
    decimal text; None if it does not say.
    run_seconds: how long it ran at the provider, if it says.
    charged: False where the provider's rules say this end costs nothing; True or None: price it.
    """

    state: JobState
    outputs: tuple[Output, ...] = ()
    failure: Failure | None = None
    billed_units: str | None = None
    run_seconds: float | None = None
    charged: bool | None = None
