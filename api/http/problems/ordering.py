"""Problems of orders: each error of the application layer, worded for an HTTP caller."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import singledispatch
from typing import Final

from pydantic.alias_generators import to_camel

from api.http.problems.documents import (
    RETRY_AFTER_SECONDS,
    ProblemError,
    invalid_fields,
    json_pointer,
    not_found,
)
from api.http.problems.spend_limits import spend_limit_problem
from api.http.problems.texts import UPLOADS_BUSY
from core.domain.money import usd_text
from core.ordering.errors import (
    ApprovalDecidedError,
    ApprovalNotOpenError,
    AssetDeletedError,
    AssetInUseError,
    AssetLimitError,
    AssetNotFoundError,
    DailyCapError,
    ExecutionNotEndedError,
    ExecutionNotFinalError,
    ExecutionNotFoundError,
    IdempotencyInProgressError,
    ImportsBusyError,
    InvalidFieldsError,
    KeySpendLimitError,
    MaxCostError,
    MediaLimitError,
    MediaRefusedError,
    ModelNotOfferedError,
    MonthlyBudgetError,
    OpenExecutionsError,
    OrderingError,
    OwnImportsBusyError,
    OwnQueueFullError,
    PossibleDoubleCostError,
    ProviderNotAcceptingError,
    ProviderQueueFullError,
    QueueFullError,
    StepCost,
    StorageDownError,
    UserKeyRefusedError,
)

EXECUTIONS_PATH: Final = "/api/executions"
ASSETS_PATH: Final = "/api/assets"
IN_PROGRESS_RETRY_SECONDS: Final = 1
"""Much longer than the transaction of the first request takes."""
OPEN_RETRY_SECONDS: Final = 15
"""An execution takes minutes, but a user at the limit has many, so one of them ends soon."""


@singledispatch
def ordering_problem(error: OrderingError) -> ProblemError:
    """Return the problem of an error, by its class."""
    return ProblemError(error.code)


@ordering_problem.register
def _(_error: ExecutionNotFoundError) -> ProblemError:
    return not_found(EXECUTIONS_PATH)


@ordering_problem.register
def _(error: ExecutionNotEndedError) -> ProblemError:
    return ProblemError(error.code, f"The execution is {error.status}.")


@ordering_problem.register
def _(error: ExecutionNotFinalError) -> ProblemError:
    return ProblemError(
        error.code,
        "The bill of a job is still open. Delete the execution once `cost.final` is true."
        if error.open_bill
        else "The webhook of the execution is still being delivered. Delete the execution once the "
        "webhook is delivered or has failed.",
    )


@ordering_problem.register
def _(error: IdempotencyInProgressError) -> ProblemError:
    return ProblemError(error.code, headers=_retry_after(IN_PROGRESS_RETRY_SECONDS))


@ordering_problem.register
def _(error: InvalidFieldsError) -> ProblemError:
    fields: list[dict[str, object]] = []
    for item in error.errors:
        path = public_path(item.field)
        field: dict[str, object] = {
            "field": path,
            "pointer": json_pointer(path),
            "code": item.code,
            "detail": item.detail,
        }
        if item.allowed is not None:
            field["allowed"] = list(item.allowed)
        fields.append(field)
    return invalid_fields(fields)


@ordering_problem.register
def _(error: ApprovalNotOpenError) -> ProblemError:
    return ProblemError(
        error.code,
        f"The step {error.step!r} does not wait for a decision now. `waitingFor` of the execution "
        "lists the steps that do.",
    )


@ordering_problem.register
def _(error: ApprovalDecidedError) -> ProblemError:
    choice = "rejected" if error.option is None else f"decided for {error.option!r}"
    decided_at = _utc(error.decided_at, "milliseconds")
    return ProblemError(
        error.code,
        f"The step {error.step!r} was {choice} at {decided_at}. A decision is final.",
        members={"decision": {"step": error.step, "option": error.option, "decidedAt": decided_at}},
    )


@ordering_problem.register
def _(error: ModelNotOfferedError) -> ProblemError:
    step = error.step
    return ProblemError(
        error.code,
        f"The step {step.name!r} would have to be bought again, but {step.provider} no longer "
        f"offers {step.model} for it. Create a new execution with another model.",
    )


@ordering_problem.register
def _(error: PossibleDoubleCostError) -> ProblemError:
    return ProblemError(
        error.code,
        f"An earlier purchase may still complete and be billed: {_named(error.purchases)}. Retry "
        'later, when its bill is known, or send {"acceptPossibleDoubleCost": true} to buy it again '
        "now.",
        members={"doubleCost": {"currency": "USD", "steps": _steps(error.purchases)}},
    )


@ordering_problem.register
def _(error: ProviderNotAcceptingError) -> ProblemError:
    own_key = isinstance(error, UserKeyRefusedError)
    refused = "your own key" if own_key else "this service"
    advice = "Replace or delete the key." if own_key else "Choose a model of another provider."
    return ProblemError(
        error.code,
        f"{error.provider} refuses {refused}. Nothing was accepted or held. The next attempt is in "
        f"{error.retry_after_seconds} s. {advice}",
        members={
            "provider": error.provider,
            "since": _utc(error.since, "milliseconds"),
            "triedAgainAt": _utc(error.tried_again_at, "milliseconds"),
        },
        headers=_retry_after(error.retry_after_seconds),
    )


@ordering_problem.register
def _(error: MaxCostError) -> ProblemError:
    limit, before = usd_text(error.max_cost_nano_usd), usd_text(error.before_nano_usd)
    needed = usd_text(sum(cost.nano_usd for cost in error.steps))
    spent = f" and {before} USD are already spent or held" if error.before_nano_usd else ""
    return ProblemError(
        error.code,
        f"The steps to buy may cost {needed} USD ({_named(error.steps)}){spent}, but maxCost is "
        f"{limit} USD. Raise maxCost or choose cheaper models.",
        members={
            "cost": {
                "currency": "USD",
                "maxCost": limit,
                "before": before,
                "needed": needed,
                "steps": _steps(error.steps),
            }
        },
    )


@ordering_problem.register
def _(error: OpenExecutionsError) -> ProblemError:
    return ProblemError(
        error.code,
        f"Too many open executions for this account ({error.open_executions} of at most "
        f"{error.limit}). Wait for one to end.",
        members={"executions": {"open": error.open_executions, "limit": error.limit}},
        headers=_retry_after(OPEN_RETRY_SECONDS),
    )


@ordering_problem.register
def _(error: QueueFullError) -> ProblemError:
    return ProblemError(
        error.code,
        f"The execution would wait about {error.wait_seconds} s for one of this account's "
        f"{error.running_limit} slots (limit {error.limit_seconds} s). Send the request again in "
        f"{error.retry_after_seconds} s.",
        members={"queue": _queue(error) | {"waiting": error.waiting}},
        headers=_retry_after(error.retry_after_seconds),
    )


@ordering_problem.register
def _(error: ProviderQueueFullError) -> ProblemError:
    key = " with your own key" if isinstance(error, OwnQueueFullError) else ""
    return ProblemError(
        error.code,
        f"The execution would wait about {error.wait_seconds} s for {error.provider}{key} (limit "
        f"{error.limit_seconds} s). Send the request again in {error.retry_after_seconds} s, or "
        "choose a model of another provider.",
        members={"queue": _queue(error) | {"provider": error.provider}},
        headers=_retry_after(error.retry_after_seconds),
    )


def _queue(error: QueueFullError | ProviderQueueFullError) -> dict[str, object]:
    return {"expectedSeconds": error.wait_seconds, "limitSeconds": error.limit_seconds}


@ordering_problem.register
def _(error: MonthlyBudgetError) -> ProblemError:
    needed, resets_at = usd_text(error.needed_nano_usd), _utc(error.resets_at, "microseconds")
    left_usd = None if error.left_nano_usd is None else usd_text(error.left_nano_usd)
    left = [
        *([] if left_usd is None else [f"{left_usd} USD"]),
        *([] if error.left_videos is None else [f"{error.left_videos} videos"]),
    ]
    return ProblemError(
        error.code,
        f"The execution may cost {needed} USD and counts as 1 video. The monthly budget has "
        f"{' and '.join(left)} left until {resets_at}.",
        members={
            "budget": {
                "currency": "USD",
                "needed": needed,
                "left": left_usd,
                "videosLeft": error.left_videos,
                "resetsAt": resets_at,
            }
        },
    )


ordering_problem.register(KeySpendLimitError, spend_limit_problem)


@ordering_problem.register
def _(error: MediaLimitError) -> ProblemError:
    resets_at = _utc(error.resets_at, "microseconds")
    return ProblemError(
        error.code,
        f"The media steps usually take {error.needed_seconds} s of processor time. This account "
        f"has {error.left_seconds} s of {error.limit_seconds} s left until {resets_at}. Use fewer "
        "or shorter media steps, or wait for open ones that take less than expected.",
        members={
            "media": {
                "neededSeconds": error.needed_seconds,
                "leftSeconds": error.left_seconds,
                "limitSeconds": error.limit_seconds,
                "resetsAt": resets_at,
            }
        },
    )


@ordering_problem.register
def _(error: DailyCapError) -> ProblemError:
    needed, resets_at = usd_text(error.needed_nano_usd), _utc(error.resets_at, "microseconds")
    return ProblemError(
        error.code,
        f"The execution may cost {needed} USD, which exceeds what this service may spend until "
        f"{resets_at}. Send the request again after that.",
        members={"budget": {"currency": "USD", "needed": needed, "resetsAt": resets_at}},
        headers=_retry_after(error.retry_after_seconds),
    )


@ordering_problem.register
def _(error: MediaRefusedError) -> ProblemError:
    if error.field is None:
        return ProblemError(error.code, error.detail)
    field = public_path(error.field)
    return ProblemError(
        error.code,
        f"{field}: {error.detail}",
        members={
            "errors": [
                {
                    "field": field,
                    "pointer": json_pointer(field),
                    "code": error.code,
                    "detail": error.detail,
                }
            ]
        },
    )


@ordering_problem.register
def _(error: AssetLimitError) -> ProblemError:
    return ProblemError(
        error.code,
        f"This account's uploads are {error.files} files with {error.bytes} bytes (limits "
        f"{error.files_limit} and {error.bytes_limit}), and the new file does not fit. Delete "
        "assets first.",
        members={
            "uploads": {
                "files": error.files,
                "filesLimit": error.files_limit,
                "bytes": error.bytes,
                "bytesLimit": error.bytes_limit,
            }
        },
    )


@ordering_problem.register
def _(_error: AssetNotFoundError) -> ProblemError:
    return not_found(ASSETS_PATH)


@ordering_problem.register
def _(error: AssetInUseError) -> ProblemError:
    return ProblemError(
        error.code,
        f"The asset is an output of {error.execution_id}. Delete the execution instead."
        if error.output
        else f"The open execution {error.execution_id} uses the file. Delete it when the execution "
        "has ended.",
        members={"executionId": error.execution_id},
    )


@ordering_problem.register
def _(error: AssetDeletedError) -> ProblemError:
    return ProblemError(
        error.code,
        f"The step {error.step.name!r} would have to be bought again, but an asset that it uses was "
        "deleted. Create a new execution.",
    )


@ordering_problem.register
def _(error: StorageDownError) -> ProblemError:
    return ProblemError(error.code, headers=_retry_after(RETRY_AFTER_SECONDS))


@ordering_problem.register(OwnImportsBusyError)
@ordering_problem.register(ImportsBusyError)
def _(error: OwnImportsBusyError | ImportsBusyError) -> ProblemError:
    return ProblemError(
        error.code,
        UPLOADS_BUSY.format(seconds=RETRY_AFTER_SECONDS),
        headers=_retry_after(RETRY_AFTER_SECONDS),
    )


def _named(costs: Sequence[StepCost]) -> str:
    return ", ".join(f"{cost.step.name} at most {usd_text(cost.nano_usd)} USD" for cost in costs)


def _steps(costs: Sequence[StepCost]) -> list[dict[str, str]]:
    return [
        {
            "step": cost.step.name,
            **({} if cost.job_id is None else {"jobId": cost.job_id}),
            "provider": cost.step.provider,
            "model": cost.step.model,
            "atMost": usd_text(cost.nano_usd),
        }
        for cost in costs
    ]


def _retry_after(seconds: int) -> dict[str, str]:
    return {"Retry-After": str(seconds)}


def _utc(time: datetime, precision: str) -> str:
    return time.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def public_path(field: str) -> str:
    """Return the name of a field, or its path, in camel case."""
    return "/".join(to_camel(part) if "_" in part else part for part in field.split("/"))
