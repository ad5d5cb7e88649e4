"""A failed or cancelled execution goes on from what is paid: the answer says what is kept, and what
will be paid.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from api.auth.authentication import CurrentUser
from api.executions.accepting import (
    IdempotencyKey,
    accepted,
    check_idempotency_key,
    claim_key,
    keep_answer,
    replayed,
    request_sha256,
    start,
)
from api.executions.breakers import check_accepting
from api.executions.limit_problems import NO_ROOM, NoRoom, max_cost_problem, no_room_problem
from api.executions.schemas import KeptStep, Retried, RetryRequest, StepToPay
from api.http.bodies import read_optional_json
from api.http.ids import EXECUTION_ID
from api.http.openapi import problems, request_body
from api.http.problems import ProblemError, not_found, validation_problem
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId, UserId
from core.domain.messages.executions import ExecutionOrder
from core.domain.money import NanoUsd, usd_text
from core.domain.plans import Parameters, Step
from core.domain.prices import Quote
from core.domain.retries import Fate, StepRetry, decide_retry
from core.domain.states import ExecutionStatus, JobState
from core.ordering.offers import offered_within
from core.ordering.plan import worst_inputs
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.providers.registry import Providers
from core.store.database import Connection
from core.store.executions.idempotency import KeptAnswer
from core.store.executions.retries import (
    LockedExecution,
    MaxCostExceededError,
    list_parameters,
    lock_execution,
    lock_purchases,
    queue_again,
)

_PATH: Final = "/api/executions"
_CLOSING_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.05
_REOPENED: Final[Mapping[JobState, JobState]] = {
    JobState.FAILED: JobState.SUBMITTED,
    JobState.CANCELLED: JobState.SUBMITTED,
}
"""How a purchase that was given up stands once it goes on."""

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["executions"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    execution_id: ExecutionId
    double_cost_accepted: bool
    idempotency_key: str | None
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queued:
    """has_room: it may run at once; else it is started when one of its user's executions
    has ended.
    """

    order: ExecutionOrder
    prompt: str
    body: bytes
    has_room: bool


class _NoRoomError(Exception):
    """A limit has no room for it. Everything is rolled back."""

    def __init__(self, error: NoRoom, needed_nano_usd: NanoUsd) -> None:
        super().__init__(error, needed_nano_usd)
        self.error = error
        self.needed_nano_usd = needed_nano_usd


@router.post(
    "/executions/{execution_id}/retry",
    status_code=202,
    response_model=Retried,
    summary="Go on from what is paid",
    openapi_extra=request_body(RetryRequest, required=False),
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.BUDGET_EXCEEDED,
        FailureCode.MAX_COST_EXCEEDED,
        FailureCode.OPEN_LIMIT_REACHED,
        FailureCode.SERVICE_BUDGET_EXCEEDED,
        FailureCode.PROVIDER_NOT_ACCEPTING,
        FailureCode.PROVIDER_KEY_REFUSED,
        FailureCode.NOT_FOUND,
        FailureCode.EXECUTION_NOT_ENDED,
        FailureCode.NOTHING_TO_RETRY,
        FailureCode.POSSIBLE_DOUBLE_COST,
        FailureCode.PROVIDER_MODEL_UNAVAILABLE,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
        FailureCode.IDEMPOTENCY_CONFLICT,
        FailureCode.IDEMPOTENCY_IN_PROGRESS,
    ),
)
async def retry_execution(
    request: Request,
    user_id: CurrentUser,
    execution_id: str,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Only a failed or cancelled execution. What is paid for is not bought again; the rest is held
    at today's price.
    """
    services = services_of(request)
    plain = await read_optional_json(request)
    check_idempotency_key(idempotency_key)
    if not EXECUTION_ID.fullmatch(execution_id):
        raise not_found(_PATH)
    asked = _Asked(
        execution_id=ExecutionId(execution_id),
        double_cost_accepted=_parse(plain).accept_possible_double_cost,
        idempotency_key=idempotency_key,
        sha256=request_sha256("retry", execution_id, body=plain),
    )
    try:
        async with services.database.as_user(user_id) as conn:
            queued = await _queue(services, conn, user_id, asked)
    except _NoRoomError as error:
        raise await no_room_problem(services, user_id, error.error, error.needed_nano_usd) from None
    if isinstance(queued, KeptAnswer):
        return replayed(queued, asked.sha256)
    log.info(
        "execution retried",
        execution_id=execution_id,
        user_id=user_id,
        generation=queued.order.generation,
    )
    if queued.has_room:
        await _until_closed(services, queued.order.execution_id)
        await start(services, queued.order, queued.prompt)
    return accepted(queued.body)


def _parse(plain: dict[str, Any]) -> RetryRequest:
    try:
        return RetryRequest.model_validate(plain)
    except ValidationError as error:
        raise validation_problem(error.errors(include_url=False, include_input=False)) from None


async def _queue(
    services: Services, conn: Connection, user_id: UserId, asked: _Asked
) -> _Queued | KeptAnswer:
    """Decide, and do it, in the caller's transaction; or the answer that was given under the same
    key before.

    Two at once under different keys wait for each other at the execution's row: the second finds a
    queue.
    """
    key = asked.idempotency_key
    earlier = await claim_key(conn, user_id, key) if key is not None else None
    if earlier is not None:
        return earlier
    execution = await lock_execution(conn, user_id, asked.execution_id)
    if execution is None:
        raise not_found(_PATH)
    _check_ended(execution)
    steps = decide_retry(
        execution.plan, await lock_purchases(conn, asked.execution_id), execution.error
    )
    if not asked.double_cost_accepted:
        _check_double_cost(steps)
    parameters = await list_parameters(conn, asked.execution_id)
    bought = [item.step for item in steps if item.fate is Fate.BOUGHT]
    await check_accepting(conn, user_id, (step.provider for step in bought))
    catalogue = await offered_within(conn, services.providers, user_id)
    quotes = {step.name: _quote(catalogue, step, parameters[step.name]) for step in bought}
    needed = NanoUsd(sum(quote.worst_nano_usd for quote in quotes.values()))
    answer = Retried(
        execution_id=execution.execution_id,
        status_url=f"{services.public_base_url}{_PATH}/{execution.execution_id}",
        generation=execution.generation + 1,
        kept=[_kept(item) for item in steps if item.fate is not Fate.BOUGHT],
        to_pay=[_to_pay(step, quotes[step.name]) for step in bought],
        estimated=usd_text(needed),
    )
    body = answer.model_dump_json(by_alias=True).encode()
    kept = KeptAnswer(request_sha256=asked.sha256, answer=body)
    if key is not None:
        await keep_answer(conn, user_id, key, kept)
    try:
        has_room = await queue_again(conn, execution, steps, quotes, services.limits)
    except NO_ROOM as error:
        raise _NoRoomError(error, needed) from None
    except MaxCostExceededError as error:
        worst = [(step, quotes[step.name].worst_nano_usd) for step in bought]
        raise max_cost_problem(
            error.max_cost_nano_usd, worst, before_nano_usd=error.before_nano_usd
        ) from None
    order = ExecutionOrder(
        execution_id=execution.execution_id,
        user_id=execution.user_id,
        generation=execution.generation + 1,
        plan=execution.plan,
    )
    return _Queued(order=order, prompt=execution.prompt, body=body, has_room=has_room)


def _check_ended(execution: LockedExecution) -> None:
    if not execution.status.ended:
        raise ProblemError(FailureCode.EXECUTION_NOT_ENDED, f"It is {execution.status}.")
    if execution.status is ExecutionStatus.COMPLETED:
        raise ProblemError(FailureCode.NOTHING_TO_RETRY)


def _check_double_cost(steps: Sequence[StepRetry]) -> None:
    """A bill that is open, of a step that would be bought again: its user decides, or waits until
    it is known.
    """
    doubtful = [(item.step, purchase) for item in steps for purchase in item.doubtful]
    if not doubtful:
        return
    named = ", ".join(
        f"{step.name} (at most {usd_text(one.cost_nano_usd)} USD)" for step, one in doubtful
    )
    listed = [
        {
            "step": step.name,
            "jobId": one.job_id,
            "provider": step.provider,
            "model": step.model,
            "atMost": usd_text(one.cost_nano_usd),
        }
        for step, one in doubtful
    ]
    raise ProblemError(
        FailureCode.POSSIBLE_DOUBLE_COST,
        f"What was bought before may still complete and be billed: {named}. It is being looked for: try again "
        'later, or send {"acceptPossibleDoubleCost": true} to buy it again now.',
        members={"doubleCost": {"currency": "USD", "steps": listed}},
    )


def _quote(catalogue: Providers, step: Step, parameters: Parameters) -> Quote:
    """What a step may cost today. Raises ProblemError: its model is not on offer any more, or not
    like this.
    """
    found = catalogue.find_model(step.model, step.provider)
    if found is None:
        raise _not_offered(step)
    provider, model = found
    try:
        return provider.quote(model, worst_inputs(model, parameters))
    except ValueError:
        raise _not_offered(step) from None


def _not_offered(step: Step) -> ProblemError:
    return ProblemError(
        FailureCode.PROVIDER_MODEL_UNAVAILABLE,
        f"The step {step.name!r} would have to be bought again, and {step.model} of {step.provider} is not on offer "
        "for it any more. Order a new execution with another model.",
    )


def _kept(item: StepRetry) -> KeptStep:
    job = item.job or item.last
    state = JobState.COMPLETED if item.fate is Fate.KEPT else _REOPENED.get(job.state, job.state)
    return KeptStep(
        step=item.step.name, job_id=job.job_id, state=state, cost=usd_text(job.cost_nano_usd)
    )


def _to_pay(step: Step, quote: Quote) -> StepToPay:
    estimated = usd_text(quote.worst_nano_usd)
    return StepToPay(step=step.name, provider=step.provider, model=step.model, estimated=estimated)


async def _until_closed(services: Services, execution_id: ExecutionId) -> None:
    """The workflow of the generation before closes a moment after its last transaction; a start
    before that would only find it. What cannot be started now, the sweep starts.
    """
    handle = services.temporal.get_workflow_handle(execution_id)
    try:
        async with asyncio.timeout(_CLOSING_SECONDS):
            while True:
                description = await handle.describe(rpc_timeout=START_RPC_TIMEOUT)
                if description.status is not WorkflowExecutionStatus.RUNNING:
                    return
                await asyncio.sleep(_LOOK_SECONDS)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            log.warning(
                "Temporal could not be asked", execution_id=execution_id, reason=str(error)[:200]
            )
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning(
            "the workflow before has not closed yet",
            execution_id=execution_id,
            reason=str(error)[:200],
        )
