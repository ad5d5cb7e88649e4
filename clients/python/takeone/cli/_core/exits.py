"""Exit codes, and the failures that they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from takeone.errors import CallError, TakeoneError


class Exit(IntEnum):
    """The exit codes, which are a contract."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    AUTHENTICATION = 3
    MONEY = 4
    LATER = 5
    TIMEOUT = 6
    NOT_FOUND = 7
    INTERRUPTED = 130


MEANINGS: Final[Mapping[Exit, str]] = {
    Exit.DONE: "done",
    Exit.FAILED: "the execution failed or was cancelled",
    Exit.USAGE: "wrong usage, an invalid request, or a state that does not allow the command",
    Exit.AUTHENTICATION: "no valid API key, or a key without the required scope",
    Exit.MONEY: "refused for money: not confirmed, above a budget or above `--max-cost`",
    Exit.LATER: "try later: no connection, too many requests, or the service is unavailable",
    Exit.TIMEOUT: "the time to wait is over; the execution continues",
    Exit.NOT_FOUND: "the account has no such object",
    Exit.INTERRUPTED: "interrupted by Ctrl-C; an accepted execution continues",
}


class StopError(Exception):
    """End the command with an exit code, a text for people and members for programs.

    reported: the result has been printed, so no error document follows with `--json`.
    """

    def __init__(
        self,
        code: Exit,
        text: str = "",
        *,
        reported: bool = False,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.reported = reported
        self.document = document or {}


@dataclass(frozen=True)
class Explained:
    """A failure as exit code, text for people and document for programs."""

    code: Exit
    text: str
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])


def explain(error: Exception) -> Explained | None:
    """Return what a failure stands for; None for an unexpected one."""
    from takeone.errors import CallError, TakeoneError

    match error:
        case StopError():
            return Explained(error.code, error.text, error.document)
        case CallError():
            return explain_call(error)
        case TakeoneError():
            return Explained(_local(error), str(error))
        case OSError():
            where = f": {error.filename}" if error.filename else ""
            return Explained(Exit.USAGE, f"{error.strerror or error}{where}")
        case _:
            return None


def _local(error: "TakeoneError") -> Exit:
    """Return the exit code of a failure that is not the answer to a call."""
    from takeone.errors import ConfigurationError, ExecutionFailedError, WaitTimeoutError

    match error:
        case WaitTimeoutError():
            return Exit.TIMEOUT
        case ConfigurationError():
            return Exit.AUTHENTICATION
        case ExecutionFailedError():
            return Exit.FAILED
        case _:
            return Exit.USAGE


def explain_call(error: "CallError", repeat_with: str = "") -> Explained:
    """Return what the failure of a call stands for.

    repeat_with: further options that the command needs when it is repeated with the same key.
    """
    from takeone.errors import ProblemError

    document: dict[str, Any] = {
        "requestId": error.request_id,
        "idempotencyKey": error.idempotency_key,
    }
    if isinstance(error, ProblemError):
        document |= {
            "code": error.code,
            "status": error.status,
            "retryable": error.retryable,
            "spent": error.spent,
            "errors": [each.model_dump(by_alias=True) for each in error.errors],
        }
    code = _call_code(error)
    return Explained(code, _with_key(error, code, repeat_with), document)


def _call_code(error: "CallError") -> Exit:
    from takeone import errors

    match error:
        case errors.AuthenticationError() | errors.ForbiddenError():
            return Exit.AUTHENTICATION
        case errors.BudgetError() | errors.PossibleDoubleCostError():
            return Exit.MONEY
        case errors.NotFoundError():
            return Exit.NOT_FOUND
        case errors.RateLimitError() | errors.UnavailableError() | errors.ServerError():
            return Exit.LATER
        case errors.ProblemError():
            return Exit.LATER if error.retryable else Exit.USAGE
        case errors.UnusableAnswerError():
            return Exit.USAGE
        case _:
            return Exit.LATER


def _with_key(error: "CallError", code: Exit, repeat_with: str) -> str:
    """Return the text of an error, with the key of an order that may have been accepted."""
    from takeone.errors import ConnectError, RateLimitError, UnusableAnswerError

    uncertain = code is Exit.LATER and not isinstance(error, ConnectError | RateLimitError)
    if error.idempotency_key is None or not (uncertain or isinstance(error, UnusableAnswerError)):
        return str(error)
    return f"{error}\n{repeat_text(error.idempotency_key, repeat_with)}"


def repeat_text(key: str, repeat_with: str = "") -> str:
    """Return how to repeat an order whose answer was lost."""
    options = f"--idempotency-key {key} {repeat_with}".rstrip()
    return (
        f"The order may have been accepted. Repeat the command with {options}: it is then accepted "
        "once."
    )
