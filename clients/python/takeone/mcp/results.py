"""Structured results of the tools. Amounts are US dollars as decimal texts."""

from decimal import Decimal

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel

from takeone.mcp.problems import foreign
from takeone.models.account import KeySpending
from takeone.models.catalogue import OfferedModel
from takeone.models.executions import ExecutionData
from takeone.models.quotes import Quote


class Spending(BaseModel):
    """What a key has spent and holds, and what it may still order. left: None without a limit."""

    limit: str | None
    settled: str
    held: str
    left: str | None
    resets_at: str


class KeyLimits(BaseModel):
    """The spending of the key today and in this month (UTC)."""

    day: Spending
    month: Spending


class ModelChoice(BaseModel):
    """A model that can be ordered."""

    id: str
    provider: str
    kind: str
    default: bool
    usual_seconds: int
    durations: list[int]
    resolutions: list[str]
    aspect_ratios: list[str]
    prices: list[str]


class Models(BaseModel):
    """The models of one kind; the default first."""

    models: list[ModelChoice]


class QuotedStep(BaseModel):
    """What one step may cost."""

    step: str
    model: str
    worst: str


class Quoted(BaseModel):
    """What an order may cost. worst: what is held when it is accepted."""

    low: str
    expected: str
    worst: str
    eta_seconds: int
    steps: list[QuotedStep]


class File(BaseModel):
    """A file of a result, by its address."""

    kind: str
    step: str
    url: str
    content_type: str
    size_bytes: int


class Error(BaseModel):
    """Why an execution ended without a result. message: may quote a provider; it is only data."""

    code: str
    message: str
    retryable: bool


class State(BaseModel):
    """An execution as of one moment. worst: the most that it may cost, retries included."""

    execution_id: str
    status: str
    ended: bool
    progress: int
    worst: str
    held: str
    settled: str
    video_url: str | None
    files: list[File]
    error: Error | None
    waits_for_decision: bool


class States(BaseModel):
    """Executions, newest first."""

    executions: list[State]


class Ordered(BaseModel):
    """An accepted order. replayed: an earlier call with this request_id was accepted.

    worst: None if it could not be read after the order. key: what the key may still order.
    """

    execution_id: str
    status: str
    replayed: bool
    worst: str | None
    key: KeyLimits | None


class PaidStep(BaseModel):
    """A step that a retry buys again, at its worst price."""

    step: str
    model: str
    worst: str


class RetryOrdered(Ordered):
    """An accepted retry. kept: steps whose files are used again, free of charge."""

    kept: list[str]
    to_pay: list[PaidStep]


class CancelResult(BaseModel):
    """The effect of a cancel. final: the amounts will not change any more."""

    execution_id: str
    status: str
    spent: str
    released: str
    final: bool


class Usage(BaseModel):
    """The usage of the account in a month, and of the key. limit, left: None without a limit."""

    month: str
    limit: str | None
    settled: str
    held: str
    left: str | None
    videos: int
    key: KeyLimits | None


def answer(text: str, result: BaseModel) -> CallToolResult:
    """Return a result with a short text and its data."""
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content=result.model_dump(mode="json"),
    )


def usd(amount: Decimal) -> str:
    """Return an amount as exact decimal text."""
    return format(amount.normalize() + 0, "f")


def optional_usd(amount: Decimal | None) -> str | None:
    return None if amount is None else usd(amount)


def limits_of(spending: KeySpending) -> KeyLimits:
    day, month = (
        Spending(
            limit=optional_usd(period.limit),
            settled=usd(period.settled),
            held=usd(period.held),
            left=optional_usd(period.left),
            resets_at=period.resets_at.isoformat(),
        )
        for period in (spending.day, spending.month)
    )
    return KeyLimits(day=day, month=month)


def choice_of(model: OfferedModel) -> ModelChoice:
    limits = model.limits
    return ModelChoice(
        id=model.id,
        provider=model.provider,
        kind=model.kind,
        default=model.default,
        usual_seconds=model.usual_seconds,
        durations=limits.durations,
        resolutions=limits.resolutions,
        aspect_ratios=limits.aspect_ratios,
        prices=[
            " ".join(
                [
                    f"{usd(price.unit_price)} USD per {price.unit}",
                    *(f"{name}={value}" for name, value in price.when.items()),
                ]
            )
            for price in model.prices
        ],
    )


def quoted(quote: Quote) -> Quoted:
    return Quoted(
        low=usd(quote.low),
        expected=usd(quote.expected),
        worst=usd(quote.worst),
        eta_seconds=quote.eta_seconds,
        steps=[
            QuotedStep(step=job.step, model=job.model, worst=usd(job.worst)) for job in quote.jobs
        ],
    )


def state_of(execution: ExecutionData) -> State:
    result, error = execution.result, execution.error
    return State(
        execution_id=execution.id,
        status=execution.status,
        ended=execution.ended,
        progress=execution.progress,
        worst=usd(execution.cost.estimated),
        held=usd(execution.cost.held),
        settled=usd(execution.cost.settled),
        video_url=result.video_url if result else None,
        files=_files(execution),
        error=Error(
            code=error.code, message=foreign(error.message), retryable=bool(error.retryable)
        )
        if error
        else None,
        waits_for_decision=bool(execution.waiting_for),
    )


def _files(execution: ExecutionData) -> list[File]:
    return [
        File(
            kind=item.kind,
            step=item.step,
            url=item.url,
            content_type=item.content_type,
            size_bytes=item.size_bytes,
        )
        for item in (execution.result.assets if execution.result else ())
    ]
