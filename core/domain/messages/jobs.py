"""Messages about jobs, between workflows, activities, providers and store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, ProviderJobId, ProviderKeyId, UserId
from core.domain.media.content import MediaKind
from core.domain.money import NanoUsd
from core.domain.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """The job that an activity works on; everything else about the job is in its rows.

    more_jobs: further jobs of the execution, whose files are stored in the same call.
    """

    user_id: UserId
    execution_id: ExecutionId
    job_id: JobId
    generation: int
    more_jobs: tuple[JobId, ...] = ()


def key_scope(provider: str, provider_key_id: ProviderKeyId | None) -> str:
    """Return the scope of limits, pauses and circuit breakers, which apply to one provider key.

    The provider's name for the service's key, with `/pkey_…` appended for a user's own key.
    """
    return provider if provider_key_id is None else f"{provider}/{provider_key_id}"


class SubmitOutcome(StrEnum):
    """The result of a create request.

    SUBMITTED: the provider accepted the job.
    NOT_SENT: the job was certainly not accepted and may be sent again.
    REFUSED: the job has failed.
    UNKNOWN: the job must be looked up.
    STOPPED: nothing was sent; the execution is cancelled or has another generation.
    ENDED: the job had already ended (a retry that reuses it, a replayed history).
    """

    SUBMITTED = "submitted"
    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    STOPPED = "stopped"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class NextJob:
    """The job with which a step continues, at another model, after a job that cost nothing.

    own_key: its user has a key at its provider.
    """

    job_id: JobId
    provider: str
    model: str
    own_key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SettleJobResult:
    """The job after settlement. execution_spent_nano_usd: spent so far by the whole execution.

    resend: the number of the job's sends that failed at no cost, if the job is to be submitted
    again after a pause; 0: the job has ended. cost_nano_usd: of this job, 0 while its bill is open.
    next_job: to be submitted for the step instead of this job.
    """

    state: JobState
    execution_spent_nano_usd: NanoUsd
    failure: Failure | None = None
    resend: int = 0
    cost_nano_usd: int = 0
    next_job: NextJob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitJobResult:
    """The result of a create request, with the job's row after it.

    retry_after_seconds: with NOT_SENT, the pause that the provider requested, or 0.
    held_back: with NOT_SENT, no request was made, because of the concurrency limit, a pause or an
    open circuit breaker.
    own_key: with NOT_SENT, whether the next send uses the user's own key; None: as before.
    send_number, provider_job_id, provider_key_id: the values in the job's row. No decision uses
    them; they are in the history so that a database restored from an older backup can be repaired.
    settled: with SUBMITTED, the job has ended within the activity, and its cost is recorded. With
    ENDED, the provider refused it, and the step continues with settled.next_job.
    """

    outcome: SubmitOutcome
    retry_after_seconds: float = 0.0
    failure: Failure | None = None
    send_number: int = 0
    provider_job_id: ProviderJobId | None = None
    held_back: bool = False
    provider_key_id: ProviderKeyId | None = None
    own_key: bool | None = None
    settled: SettleJobResult | None = None


class FindOutcome(StrEnum):
    """The result of looking up a job with an unknown create request.

    FOUND: the provider accepted the job.
    ABSENT: the job was never accepted and may be sent.
    ENDED: the job has ended meanwhile.
    GIVEN_UP: the outcome is unknown after the deadline; the job has failed and its hold stays.
    """

    FOUND = "found"
    ABSENT = "absent"
    ENDED = "ended"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class FindJobResult:
    """The result of a look-up; the last three fields have the meaning of SubmitJobResult's."""

    outcome: FindOutcome
    failure: Failure | None = None
    send_number: int = 0
    provider_job_id: ProviderJobId | None = None
    provider_key_id: ProviderKeyId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitJobResult:
    """The end state of a job; the provider's report is only in the job's row.

    settled: the cost was recorded together with the report; None: the workflow settles the job.
    """

    state: JobState
    settled: SettleJobResult | None = None


class CancelOutcome(StrEnum):
    """The result of a cancel request.

    CANCELLED: the job will not run.
    REQUESTED: the job may still complete.
    TOO_LATE: the job had ended.
    NOTHING: there was no job to cancel.
    """

    CANCELLED = "cancelled"
    REQUESTED = "requested"
    TOO_LATE = "too_late"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJobResult:
    outcome: CancelOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseClaim:
    """What a job does whose step reuses purchases.

    source: the job of the user that has the same files. is_busy: another job is buying them.
    Neither: the job is bought.
    """

    source: JobId | None = None
    is_busy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseOrder:
    """A job that is to get copies of the files of another job of its user."""

    job: JobRef
    source: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHandle:
    """The identity of a job at its provider.

    urls: addresses that the provider returned with the id, by the provider's own names; empty for a
    job that was adopted by its id alone.
    """

    provider: str
    model: str
    provider_job_id: ProviderJobId
    urls: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that a provider produced, at the provider's address.

    needs_key: only a request with the provider's key gets it, so no other provider can. Its url is
    "" if the file came with the answer of the create call. A `data:` URL contains the file.
    """

    url: str
    kind: MediaKind
    needs_key: bool = False

    @property
    def is_inline(self) -> bool:
        """Whether the address contains the file itself, or did until the file was stored."""
        return not self.url or self.url[:5].lower() == "data:"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """A provider's report of a job, translated; unknown provider statuses are SUBMITTED.

    billed_units: the quantity that the provider billed, in the model's own unit, as exact decimal
    text; None if not reported.
    run_seconds: the run time at the provider, if reported.
    charged: False if this end costs nothing by the provider's rules; True or None: it is priced.
    transient: the provider calls this failure temporary, so the same request may succeed.
    """

    state: JobState
    outputs: tuple[Output, ...] = ()
    failure: Failure | None = None
    billed_units: str | None = None
    run_seconds: float | None = None
    charged: bool | None = None
    transient: bool = False

    @property
    def is_free_and_transient(self) -> bool:
        """Whether the job failed at no cost, certainly, and may be sent again."""
        return (
            self.state is JobState.FAILED
            and self.transient
            and self.charged is False
            and self.billed_units is None
        )
