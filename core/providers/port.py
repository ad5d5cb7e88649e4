"""The port of a provider adapter, which translates between our messages and the vendor's HTTP API.

An adapter holds only its HTTP client, its addresses and its key. It never retries a create call:
the submit activity alone decides what is sent, and when.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from core.domain.failures import Failure
from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import CancelOutcome, JobReport, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.prices import Quote
from core.domain.states import CostBasis
from core.platform.clock import ClockOffset, boot_seconds
from core.providers.models import Model, ModelInputs


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """The one paid request, complete except for the key.

    body is stored with the intent, and later searched for in the provider's lists.
    method: POST, or PUT where the URL has the id of the job.
    """

    model: str
    url: str
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    method: str = "POST"


class CreateOutcome(StrEnum):
    """What became of a create call, decided in `create_outcome`.

    ACCEPTED: the provider has the job. NOT_ACCEPTED: it certainly has not.
    UNKNOWN: the job is looked up and never sent again.
    """

    ACCEPTED = "accepted"
    NOT_ACCEPTED = "not_accepted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """An ended job with its files. files: the contents of the report's outputs, in their order."""

    report: JobReport
    files: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The unread rest of an accepting answer, which is the finished job itself.

    It is read only after the job's id is committed. read: raises ProviderUnavailableError if it is
    cut or unusable; then `status` reads the job. close: discards the rest; repeating is safe.
    """

    read: Callable[[], Awaitable[Delivered]]
    close: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateAnswer:
    """The outcome of a create call and its details.

    handle: set if ACCEPTED. failure: set if NOT_ACCEPTED; failure.retryable permits another send.
    note: for the log and the send's row; short, without secrets ("502 text/html", "ReadTimeout").
    delivery: set if ACCEPTED and the provider answers with the finished job; read or close it.
    """

    outcome: CreateOutcome
    handle: ProviderHandle | None = None
    failure: Failure | None = None
    retry_after_seconds: float = 0.0
    status_code: int | None = None
    note: str = ""
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A send with an unknown outcome, and the time of the look, both by the database's clock.

    sent_from, sent_until: the earliest and the latest time at which its intent can have been
    committed. They are equal unless the send was rebuilt by a recovery. clock: the database's.
    list_age_seconds: how old a part of the list may be that was read for another look-up.
    admit_page: called before each page is read; it may wait or raise ProviderUnavailableError.
    """

    request: CreateRequest
    sent_from: datetime
    sent_until: datetime
    clock: ClockOffset
    list_age_seconds: float = 30.0
    admit_page: Callable[[], Awaitable[None]] | None = None

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(boot_seconds() + self.clock.low, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindAnswer:
    """The result of a look-up.

    matches: every job at the provider that could be this send, oldest first.
    doubtful: listed jobs that may be this send although they do not match exactly; only those that
    are known to belong to other sends do not prevent a proof of absence.
    authoritative: past its lag, the list would show the job in any state if it existed.
    looked_at: the reading of boot_seconds before the list was read.
    clock: the provider's, over all responses; None if a response did not show it.
    later: listed jobs that became listable more than `settled_seconds` after the send. If one of
    them was sent later, the list has caught up with the send.
    interchangeable: jobs of equal sends cost and produce the same, so any match may be adopted.
    """

    matches: tuple[ProviderHandle, ...]
    doubtful: tuple[ProviderJobId, ...] = ()
    authoritative: bool
    looked_at: float
    clock: ClockOffset | None
    later: tuple[ProviderJobId, ...] = ()
    interchangeable: bool = False

    @property
    def job_ids(self) -> list[ProviderJobId]:
        """Return the ids of all jobs in this answer."""
        return [*(match.provider_job_id for match in self.matches), *self.doubtful]


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A provider's callback with a verified signature. delivery_id identifies repeats.

    It is a hint only: the result comes from an authenticated GET.
    report: the end of the job, from a provider whose result cannot be read later.
    """

    provider_job_id: ProviderJobId
    delivery_id: str
    report: JobReport | None = None


class CallbackRefusedError(Exception):
    """The signature is missing, malformed, wrong or too old.

    The API responds 401, because a repeat would fail as well.
    """


class CallbackUnverifiableError(Exception):
    """The provider's public keys cannot be fetched at the moment.

    The API responds 503, so that the provider repeats the callback.
    """


class ProviderUnavailableError(Exception):
    """A read (status, list, cancel) got no usable response; repeating it is safe.

    retry_after_seconds: the provider's Retry-After, or 0.
    not_found: the response was 404 or 410, which alone proves nothing.
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


@runtime_checkable
class HasVoices(Protocol):
    """A provider whose voices are those of the account, each with an id."""

    async def has_voice(self, voice: str) -> bool:
        """Return whether the account has a voice. Safe to repeat; answers are kept for a while.

        Raises ProviderUnavailableError if the response shows neither.
        """
        ...


class Provider(Protocol):
    """One provider.

    Every method is safe to repeat except `submit`, which spends money and is called once per send.
    """

    @property
    def name(self) -> str:
        """Short and stable name: rows, task queues, callback URLs and metric labels contain it."""
        ...

    @property
    def models(self) -> Sequence[Model]: ...

    def certainty_horizon_seconds(self, model: Model) -> int:
        """Return how long after a send its absence from the provider's list is proof.

        Longer than policies.SEND_WITHIN_SECONDS, after which no byte of the send can leave.
        """
        ...

    def settled_seconds(self, model: Model) -> int:
        """Return how long after a send its job becomes listable at the latest.

        The rest of the horizon is the list's lag.
        """
        ...

    def quote(self, model: Model, inputs: ModelInputs) -> Quote:
        """Return what a job with these inputs may cost; the worst case is held.

        Raises ValueError if the model does not accept the inputs, or UnpricedError without a price.
        """
        ...

    def cost(self, model: Model, inputs: ModelInputs, report: JobReport) -> Cost:
        """Return the cost of an ended job: as reported, else computed from the price book.

        model: carries the price of the job's quote (pricing.at_price), not the current one.
        """
        ...

    def create_request(
        self, model: Model, inputs: ModelInputs, callback_url: str | None
    ) -> CreateRequest:
        """Translate inputs into the vendor's request.

        Raises ValueError for an input that the model does not accept; none is dropped.
        """
        ...

    async def submit(
        self, request: CreateRequest, *, timeout_seconds: float, not_after: float
    ) -> CreateAnswer:
        """Send one request on a fresh connection, without any retry, and return its outcome.

        not_after: after this reading of core.platform.clock.boot_seconds no byte leaves
        (NOT_ACCEPTED). Raises nothing but cancellation.
        """
        ...

    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return the headers with the key for an output at this URL that needs it.

        Empty for an address that is not the provider's own.
        """
        ...

    async def find(self, lookup: Lookup) -> FindAnswer:
        """Search the provider's list for a send. Raises ProviderUnavailableError."""
        ...

    async def status(self, handle: ProviderHandle) -> JobReport:
        """Read a job's state, with its result if it has ended.

        Raises ProviderUnavailableError.
        """
        ...

    async def cancel(self, handle: ProviderHandle) -> CancelOutcome:
        """Request cancellation; the job's state afterwards comes from `status`.

        Raises ProviderUnavailableError.
        """
        ...

    async def check_key(self) -> bool:
        """Return whether the provider accepts the key, by a read that costs nothing.

        Raises ProviderUnavailableError if the response proves neither.
        """
        ...

    async def verify_callback(self, headers: Mapping[str, str], body: bytes) -> Callback:
        """Verify a callback's signature and return the job it names.

        headers: names in lower case. Raises CallbackRefusedError, CallbackUnverifiableError.
        """
        ...
