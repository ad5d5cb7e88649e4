"""Errors of the client. Each error of a call has its idempotency key and request id."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from takeone.models.problems import FieldError

if TYPE_CHECKING:
    from takeone.models.executions import ExecutionData


RETRYABLE: Final = frozenset((408, 429, 500, 502, 503, 504))
"""Statuses after which the same request may succeed, unless a document of the service denies it."""


class TakeoneError(Exception):
    """Any error of this package."""

    def __reduce__(self) -> tuple[object, ...]:
        """Make copies and pickles, for process pools, without a call of the constructor."""
        return _restored, (type(self), self.args, self.__dict__)


class ConfigurationError(TakeoneError):
    """The client lacks an API key or the address of the service."""


class CallError(TakeoneError):
    """A call failed.

    idempotency_key: of a call that may have been accepted. The same call with this key returns the
    accepted execution, and buys nothing twice.
    """

    def __init__(
        self, message: str, *, idempotency_key: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key
        self.request_id = request_id


class ConnectError(CallError):
    """No connection to the service; nothing was sent."""


class RequestTimeoutError(CallError):
    """The service did not answer in time."""


class ConnectionLostError(CallError):
    """The connection ended before the answer was complete."""


class UnusableAnswerError(CallError):
    """The answer is not one of this API, for example the page of a proxy."""


class DownloadError(CallError):
    """A file arrived incomplete or damaged."""


class WaitTimeoutError(TakeoneError):
    """The time to wait is over. The execution continues."""

    def __init__(self, execution_id: str, seconds: float) -> None:
        super().__init__(f"{execution_id} has not ended after {seconds:g} s; it continues.")
        self.execution_id = execution_id


class ExecutionFailedError(TakeoneError):
    """The execution ended without a result: it failed or was cancelled."""

    def __init__(self, execution: "ExecutionData") -> None:
        error = execution.error
        reason = f"{error.code}: {error.message}" if error else execution.status
        super().__init__(f"{execution.id} has ended: {reason}")
        self.execution = execution
        self.code = error.code if error else execution.status
        self.retryable = bool(error and error.retryable)
        self.spent = execution.cost.settled


class WebhookVerificationError(TakeoneError):
    """The webhook is not signed with this secret, or it is too old."""


class ProblemError(CallError):
    """The service refused the call with a problem document (RFC 9457).

    code: one of the closed list of failure codes. retryable: the same call may succeed later.
    spent: what the call has cost. errors: each invalid field. retry_after: in seconds.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        *,
        status: int,
        retry_after: float | None = None,
        idempotency_key: str | None = None,
        request_id: str | None = None,
    ) -> None:
        self.status = status
        self.document = document
        self.code = str(document.get("code") or "unknown")
        self.title = str(document.get("title") or f"HTTP status {status}")
        self.detail = str(document.get("detail") or "")
        self.retryable = document.get("retryable", status in RETRYABLE) is True
        self.spent = _money(document.get("spent"))
        self.errors: Sequence[FieldError] = FieldError.read_list(document.get("errors"))
        self.retry_after = retry_after
        reasons = [
            self.title,
            self.detail,
            *(f"{error.field}: {error.detail}" for error in self.errors),
        ]
        super().__init__(
            f"{'. '.join(reason.rstrip('.') for reason in reasons if reason)} ({self.code})",
            idempotency_key=idempotency_key,
            request_id=request_id or _text(document.get("requestId")),
        )


class AuthenticationError(ProblemError):
    """The API key is missing or not valid."""


class ForbiddenError(ProblemError):
    """The API key lacks a scope; see `missing_scopes`."""

    @property
    def missing_scopes(self) -> Sequence[str]:
        """The scopes that the call requires and the key lacks."""
        scopes: list[str] = self.document.get("missingScopes") or []
        return scopes


class NotFoundError(ProblemError):
    """The account has no such object."""


class InvalidRequestError(ProblemError):
    """The request is not valid; `errors` has each field with what is allowed."""


class ConflictError(ProblemError):
    """The state of the object does not allow the call."""


class PossibleDoubleCostError(ConflictError):
    """A step may be bought a second time. `accept_possible_double_cost=True` allows it."""


class BudgetError(ProblemError):
    """The possible cost is above a budget."""


class MaxCostError(BudgetError):
    """The possible cost is above the `max_cost` of the call."""


class KeySpendLimitError(BudgetError):
    """The possible cost is above what the API key may still spend; see `spend_limit`."""

    @property
    def spend_limit(self) -> Mapping[str, Any]:
        """The limit, what is spent and held, and when it resets, as in the problem document."""
        limit: Mapping[str, Any] = self.document.get("spendLimit") or {}
        return limit


class RateLimitError(ProblemError):
    """Too many requests or open executions; see `retry_after`."""


class UnavailableError(ProblemError):
    """The service or a part of it is unavailable."""


class ServerError(ProblemError):
    """The service failed."""


BY_CODE: Final[Mapping[str, type[ProblemError]]] = {
    "key_spend_limit_exceeded": KeySpendLimitError,
    "max_cost_exceeded": MaxCostError,
    "possible_double_cost": PossibleDoubleCostError,
}
BY_STATUS: Final[Mapping[int, type[ProblemError]]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: BudgetError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
    503: UnavailableError,
}


def problem_class(code: str, status: int) -> type[ProblemError]:
    """Return the class of a problem: by its code, else by its status."""
    fallback = ServerError if status >= 500 else ProblemError
    return BY_CODE.get(code) or BY_STATUS.get(status, fallback)


def _restored(
    kind: type[TakeoneError], arguments: tuple[object, ...], members: Mapping[str, object]
) -> TakeoneError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(members)
    return error


def _money(value: object) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
