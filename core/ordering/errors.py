"""Reasons why an order is not accepted. Nothing was written, held or started.

The errors carry codes and figures; the surface that took the order words them for its callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId, JobId, KeyId
from core.domain.money import NanoUsd
from core.domain.plans import Step
from core.domain.states import ExecutionStatus

NOTHING = NanoUsd(0)


class OrderingError(Exception):
    """Base class. code: the failure that the surface reports."""

    code: ClassVar[FailureCode]


class FaultCode(StrEnum):
    """What is wrong with a field."""

    INVALID = "invalid"
    MISSING = "missing"
    UNKNOWN_FIELD = "unknown_field"
    OUT_OF_RANGE = "out_of_range"
    NOT_SUPPORTED = "not_supported"
    TOO_LONG = "too_long"
    DUPLICATE_NAME = "duplicate_name"
    UNKNOWN_STEP = "unknown_step"
    UNKNOWN_OUTPUT = "unknown_output"
    UNKNOWN_ASSET = "unknown_asset"
    UNKNOWN_VARIABLE = "unknown_variable"
    UNUSED_VARIABLE = "unused_variable"
    UNKNOWN_TEMPLATE = "unknown_template"
    CYCLE = "cycle"
    WRONG_MEDIA = "wrong_media"
    WRONG_MODEL_KIND = "wrong_model_kind"
    UNKNOWN_MODEL = "unknown_model"
    UNPRICED = "unpriced"
    TOO_MANY_STEPS = "too_many_steps"
    OUTPUT_TOO_LONG = "output_too_long"
    UNUSED_STEP = "unused_step"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """A field of the order that is not valid.

    field: its name in snake case, or its path. allowed: the possible values, where there is a
    choice.
    """

    field: str
    detail: str
    allowed: Sequence[object] | None = None
    code: FaultCode = FaultCode.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """The most that a step may cost. job_id: of a purchase that was made for it before."""

    step: Step
    nano_usd: NanoUsd
    job_id: JobId | None = None


class InvalidFieldsError(OrderingError):
    """The chosen models or the address rules do not allow what the order requests."""

    code = FailureCode.INVALID_REQUEST

    def __init__(self, *errors: FieldError) -> None:
        super().__init__(*errors)
        self.errors = errors


class ExecutionNotFoundError(OrderingError):
    """The execution does not exist or belongs to another user."""

    code = FailureCode.NOT_FOUND


@dataclass(eq=False)
class ExecutionNotEndedError(OrderingError):
    """Only an execution that has ended can be retried or deleted."""

    code = FailureCode.EXECUTION_NOT_ENDED
    status: ExecutionStatus


@dataclass(eq=False)
class ExecutionNotFinalError(OrderingError):
    """The execution cannot be deleted yet. open_bill: False if only its webhook is pending."""

    code = FailureCode.EXECUTION_NOT_FINAL
    open_bill: bool


class NothingToRetryError(OrderingError):
    """The execution has completed."""

    code = FailureCode.NOTHING_TO_RETRY


@dataclass(eq=False)
class PossibleDoubleCostError(OrderingError):
    """A retry would buy steps again whose earlier purchases may still complete and be billed."""

    code = FailureCode.POSSIBLE_DOUBLE_COST
    purchases: Sequence[StepCost]


@dataclass(eq=False)
class ApprovalNotOpenError(OrderingError):
    """The step has not begun to wait for a decision, or does not wait any more."""

    code = FailureCode.APPROVAL_NOT_OPEN
    step: str


@dataclass(eq=False)
class ApprovalDecidedError(OrderingError):
    """The step has another decision already. option: None if all options were rejected."""

    code = FailureCode.APPROVAL_DECIDED
    step: str
    option: str | None
    decided_at: datetime


@dataclass(eq=False)
class ModelNotOfferedError(OrderingError):
    """A retry would buy a step again whose model is no longer offered for it."""

    code = FailureCode.PROVIDER_MODEL_UNAVAILABLE
    step: Step


@dataclass(eq=False)
class ProviderNotAcceptingError(OrderingError):
    """The circuit breaker of the service's key at a provider is open.

    since: when it opened. tried_again_at: when it lets the next request try.
    """

    code = FailureCode.PROVIDER_NOT_ACCEPTING
    provider: str
    since: datetime
    tried_again_at: datetime
    retry_after_seconds: int


class UserKeyRefusedError(ProviderNotAcceptingError):
    """The circuit breaker of the user's own key at a provider is open."""

    code = FailureCode.PROVIDER_KEY_REFUSED


@dataclass(eq=False)
class MaxCostError(OrderingError):
    """The worst price of what would be bought is above the execution's own limit.

    steps: to be bought. before_nano_usd: spent or held already by earlier purchases.
    """

    code = FailureCode.MAX_COST_EXCEEDED
    max_cost_nano_usd: NanoUsd
    steps: Sequence[StepCost]
    before_nano_usd: NanoUsd = NOTHING


@dataclass(eq=False)
class OpenExecutionsError(OrderingError):
    """The user has too many open executions."""

    code = FailureCode.OPEN_LIMIT_REACHED
    open_executions: int
    limit: int


@dataclass(eq=False)
class QueueFullError(OrderingError):
    """The order would wait too long for a slot of its user.

    waiting: the user's executions without a slot, this one included. wait_seconds: the expected
    wait. limit_seconds: the longest wait that is accepted.
    """

    code = FailureCode.QUEUE_FULL
    waiting: int
    running_limit: int
    wait_seconds: int
    limit_seconds: int
    retry_after_seconds: int


@dataclass(eq=False)
class ProviderQueueFullError(OrderingError):
    """The order would wait too long for a slot of the service's key at a provider."""

    code = FailureCode.PROVIDER_QUEUE_FULL
    provider: str
    wait_seconds: int
    limit_seconds: int
    retry_after_seconds: int


class OwnQueueFullError(ProviderQueueFullError):
    """The order would wait too long for a slot of the user's own key at a provider."""

    code = FailureCode.QUEUE_FULL


@dataclass(eq=False)
class MonthlyBudgetError(OrderingError):
    """The hold does not fit into the user's monthly budget. left_*: None means no limit."""

    code = FailureCode.BUDGET_EXCEEDED
    needed_nano_usd: NanoUsd
    left_nano_usd: NanoUsd | None
    left_videos: int | None
    resets_at: datetime


@dataclass(eq=False)
class KeySpendLimitError(OrderingError):
    """The hold does not fit into the spend limit of the API key that orders.

    period: of the limit, `day` or `month`. resets_at: when the next period starts.
    """

    code = FailureCode.KEY_SPEND_LIMIT_EXCEEDED
    key_id: KeyId
    period: str
    needed_nano_usd: NanoUsd
    limit_nano_usd: NanoUsd | None
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    left_nano_usd: NanoUsd | None
    resets_at: datetime


@dataclass(eq=False)
class MediaLimitError(OrderingError):
    """The media steps do not fit into the user's processor time of the month.

    needed_seconds: what they usually take. left_seconds: without what open steps will use.
    """

    code = FailureCode.MEDIA_LIMIT_REACHED
    needed_seconds: int
    left_seconds: int
    limit_seconds: int
    resets_at: datetime


@dataclass(eq=False)
class DailyCapError(OrderingError):
    """The hold does not fit into the service-wide daily spending cap."""

    code = FailureCode.SERVICE_BUDGET_EXCEEDED
    needed_nano_usd: NanoUsd
    resets_at: datetime
    retry_after_seconds: int


class IdempotencyConflictError(OrderingError):
    """The idempotency key was used before with a different request."""

    code = FailureCode.IDEMPOTENCY_CONFLICT


class IdempotencyInProgressError(OrderingError):
    """Another request with the same idempotency key is being processed."""

    code = FailureCode.IDEMPOTENCY_IN_PROGRESS


class MediaRefusedError(OrderingError):
    """A file that a user sent, or named by its URL, is not accepted.

    detail: what is wrong and what is allowed. field: of the order, in snake case; None: the file is
    the request itself.
    """

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field


class MediaUnsupportedError(MediaRefusedError):
    """The type or the form of the file is not accepted."""

    code = FailureCode.MEDIA_UNSUPPORTED


class MediaDamagedError(MediaRefusedError):
    """The file is cut off or damaged."""

    code = FailureCode.MEDIA_DAMAGED


class MediaTooLargeError(MediaRefusedError):
    """The file has too many bytes or pixels."""

    code = FailureCode.MEDIA_TOO_LARGE


class MediaUnavailableError(MediaRefusedError):
    """The file's URL does not serve it."""

    code = FailureCode.MEDIA_UNAVAILABLE


@dataclass(eq=False)
class AssetLimitError(OrderingError):
    """The user's uploads have reached a limit."""

    code = FailureCode.ASSET_LIMIT_REACHED
    files: int
    files_limit: int
    bytes: int
    bytes_limit: int


class AssetNotFoundError(OrderingError):
    """The asset does not exist or belongs to another user."""

    code = FailureCode.NOT_FOUND


@dataclass(eq=False)
class AssetInUseError(OrderingError):
    """The asset cannot be deleted. output: it is an output of this execution, which is not open."""

    code = FailureCode.ASSET_IN_USE
    execution_id: ExecutionId
    output: bool


class OwnImportsBusyError(OrderingError):
    """The user's other uploads take all slots of a user."""

    code = FailureCode.RATE_LIMITED


class ImportsBusyError(OrderingError):
    """Other users' uploads take all slots of the process."""

    code = FailureCode.SERVICE_UNAVAILABLE


@dataclass(eq=False)
class AssetDeletedError(OrderingError):
    """A retry would buy a step again that uses an asset which was deleted."""

    code = FailureCode.ASSET_DELETED
    step: Step


class StorageDownError(OrderingError):
    """The object storage failed."""

    code = FailureCode.STORAGE_UNAVAILABLE
