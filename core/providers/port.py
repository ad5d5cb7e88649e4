"""What a provider adapter is: it only translates. Our message to their request, their answer to our
message.

An adapter keeps nothing but its HTTP client, its addresses and its key. It never retries a create
call: what is sent, and when, is decided by activities/jobs.py alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from core.domain.failures import Failure
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.plans import StepKind
from core.domain.prices import Price, Quote
from core.domain.states import CostBasis


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a model can do; what a request is checked against, and what a 422 lists."""

    durations_seconds: tuple[int, ...] = ()
    resolutions: tuple[str, ...] = ()
    aspect_ratios: tuple[str, ...] = ()
    takes_seed: bool = True
    takes_image: bool = False
    needs_image: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of a provider. id is the provider's own name for it.

    prices: the price book; without one for what is asked, a model is not sold.
    usual_seconds: how long a job usually takes; steers polling and progress.
    deadline_seconds: after that a job has failed.
    """

    id: str
    kind: StepKind
    limits: Limits
    prices: tuple[Price, ...]
    usual_seconds: int
    deadline_seconds: int
    default_duration_seconds: int | None = None
    default_resolution: str | None = None
    default_aspect_ratio: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInputs:
    """A step's parameters with everything resolved and no default left open."""

    prompt: str
    duration_seconds: int | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    seed: int | None = None
    image_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """The one paid POST, complete but for the key.

    body is what is stored as the intent, and later looked for in the provider's lists.
    """

    model: str
    url: str
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


class CreateOutcome(StrEnum):
    """ACCEPTED, or certainly NOT_ACCEPTED, or UNKNOWN: then it is looked up, never sent again."""

    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAnswer:
    """handle: with ACCEPTED. failure: with NOT_ACCEPTED; whether it may be sent again is
    failure.retryable.

    note: for the log and the send's row; short, without secrets ("502 text/html", "ReadTimeout").
    """

    outcome: CreateOutcome
    handle: ProviderHandle | None = None
    failure: Failure | None = None
    retry_after_seconds: float = 0.0
    status_code: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A send whose answer is not known. sent_at is when its intent was committed, just before the
    bytes left.
    """

    request: CreateRequest
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FindAnswer:
    """matches: every job at the provider that could be this send, oldest first.

    authoritative: the list would show the job if it existed, whatever its state, once the list's
    lag is over.
    """

    matches: tuple[ProviderHandle, ...]
    authoritative: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A provider's callback, its signature verified. delivery_id dedupes repeats.

    A hint only: the result comes from an authenticated GET.
    """

    provider_job_id: ProviderJobId
    delivery_id: str


class CallbackRefusedError(Exception):
    """The signature is missing, malformed, wrong or too old. Answer 401; repeating will
    not help.
    """


class CallbackUnverifiableError(Exception):
    """The provider's public keys cannot be fetched right now. Answer 503, so that the provider
    repeats it.
    """


class ProviderUnavailableError(Exception):
    """A read (status, list, cancel) got no usable answer; repeating is safe.

    retry_after_seconds: what the provider asked for, or 0.
    not_found: it says that there is no such thing; alone that proves nothing.
    """

    def __init__(
        self, note: str, *, retry_after_seconds: float = 0.0, not_found: bool = False
    ) -> None:
        super().__init__(note)
        self.retry_after_seconds = retry_after_seconds
        self.not_found = not_found


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    nano_usd: NanoUsd
    basis: CostBasis


class Provider(Protocol):
    """One provider. Every method is safe to repeat but `submit`, which spends money and is called
    once per send.
    """

    @property
    def name(self) -> str:
        """Short and stable: it is in rows, task-queue names, callback addresses and
        metric labels.
        """
        ...

    @property
    def models(self) -> Sequence[Model]: ...

    def certainty_horizon_seconds(self, model: Model) -> int:
        """How long after a send an authoritative list without it means that it was never accepted.

        Longer than policies.SEND_WITHIN_SECONDS, so that nothing can leave any more.
        """
        ...

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        """What a job with these inputs may cost; the worst is held.

        Raises ValueError: the model does not take them, or has no price for them
        (pricing.UnpricedError).
        """
        ...

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """The real cost of an ended job: reported where the provider says, else computed from the
        price book.

        model: with the price that the job was quoted by (pricing.at_price), whatever the price book
        says by now.
        """
        ...

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        """Our inputs in the provider's words. Raises ValueError for one the model does not take:
        none is dropped.
        """
        ...

    async def submit(
        self, request: CreateRequest, *, timeout_seconds: float, not_after: float
    ) -> CreateAnswer:
        """Send one POST on a fresh connection, without any retry, and say what became of it.

        not_after: past this reading of core.platform.clock.boot_seconds no byte leaves
        (NOT_ACCEPTED). Raises nothing but cancellation.
        """
        ...

    async def find(self, lookup: Lookup) -> FindAnswer:
        """Look for a send in the provider's list. Raises ProviderUnavailableError."""
        ...

    async def status(self, handle: ProviderHandle) -> JobReport:
        """Ask how a job stands, with its result if it has ended.
        Raises ProviderUnavailableError.
        """
        ...

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        """Ask for an end; the job's state afterwards comes from `status`. Raises
        ProviderUnavailableError.
        """
        ...

    async def check_key(self) -> bool:
        """Whether the provider takes the key, by a read that costs nothing. False: it refuses it.

        Raises ProviderUnavailableError: it said neither.
        """
        ...

    async def verify_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """headers: names in lower case. Raises CallbackRefusedError, CallbackUnverifiableError."""
        ...
