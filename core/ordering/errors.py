"""Reasons why an order is not accepted. Nothing was written, held or started.

The errors carry codes and figures; the surface that took the order words them for its callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from core.domain.failures import FailureCode
from core.domain.ids import JobId
from core.domain.money import NanoUsd
from core.domain.plans import Step
from core.domain.states import ExecutionStatus

NOTHING = NanoUsd(0)


class OrderingError(Exception):
    """Base class. code: the failure that the surface reports."""

    code: ClassVar[FailureCode]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldError:
    """A field of the order that is not valid.

    field: its name in snake case. allowed: the possible values, where there is a choice.
    """

    field: str
    detail: str
    allowed: Sequence[object] | None = None


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
