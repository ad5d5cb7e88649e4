"""Retry a failed or cancelled execution: keep what is paid for and buy the rest."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from core.domain.alternatives import Alternative
from core.domain.ids import ExecutionId, JobId, KeyId, UserId
from core.domain.messages.executions import ExecutionOrder
from core.domain.money import NanoUsd
from core.domain.plans import Step
from core.domain.prices import Quote
from core.domain.retries import RetryAction, StepRetry, decide_retry
from core.domain.states import ExecutionStatus, JobState
from core.ordering.accept import QueuedExecution
from core.ordering.admission.breakers import check_breakers
from core.ordering.admission.limits import STORE_LIMIT_ERRORS, LimitReachedError, explain_limit
from core.ordering.admission.queues import check_provider_queues
from core.ordering.assets.sources import keep_assets, sources_of
from core.ordering.errors import (
    ExecutionNotEndedError,
    ExecutionNotFoundError,
    MaxCostError,
    NothingToRetryError,
    PossibleDoubleCostError,
    StepCost,
)
from core.ordering.finished_files import find_served_jobs, list_lost_outputs
from core.ordering.idempotency import Answer, IdempotencyKey, find_replay, store_answer
from core.ordering.planning.catalogue import get_catalogue_in
from core.ordering.planning.quote import quote_again
from core.ordering.planning.retried import files_of_plan
from core.ordering.services import OrderingServices
from core.ordering.workflow_starts import signal_retry, try_start_execution
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.database import Connection
from core.store.executions.retries import (
    MaxCostExceededError,
    RetriedExecution,
    list_alternatives,
    list_parameters,
    lock_execution,
    lock_purchases,
    queue_again,
)
from core.store.files.assets import list_execution_assets

CLOSE_WAIT_SECONDS: Final = 2.0
CLOSE_POLL_SECONDS: Final = 0.05
_CONTINUED_STATES: Final[Mapping[JobState, JobState]] = {
    JobState.FAILED: JobState.SUBMITTED,
    JobState.CANCELLED: JobState.SUBMITTED,
}
"""The state that a purchase gets when the retry continues it."""

_USED: Final = frozenset({RetryAction.KEPT, RetryAction.CONTINUED})

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOrder:
    """A request to run an execution again.

    key_id: the API key of the request, for whose spend limit new purchases count; None: a token.
    max_cost_nano_usd: the most that new purchases may cost. accepts_double_cost: buy a step again
    although an earlier purchase may still be billed.
    """

    user_id: UserId
    key_id: KeyId | None
    execution_id: ExecutionId
    max_cost_nano_usd: NanoUsd | None = None
    accepts_double_cost: bool = False
    idempotency_key: IdempotencyKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPurchase:
    """A purchase that the retry uses or continues.

    cost_nano_usd: what was billed, or the most that it may cost while its bill is open.
    """

    step: str
    job_id: JobId
    state: JobState
    cost_nano_usd: NanoUsd


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRetry:
    """The next generation of an execution. to_buy: at the worst price, which is held now."""

    execution_id: ExecutionId
    generation: int
    kept: Sequence[KeptPurchase]
    to_buy: Sequence[StepCost]

    @property
    def held_nano_usd(self) -> NanoUsd:
        return NanoUsd(sum(cost.nano_usd for cost in self.to_buy))


Render = Callable[[QueuedRetry], bytes]
"""Return the body of the answer; it is stored with the order."""


async def retry_execution(services: OrderingServices, order: RetryOrder, render: Render) -> Answer:
    """Queue the next generation and start its workflow, or return the answer stored under its key.

    Raises OrderingError; then nothing was written.
    """
    try:
        async with services.database.as_user(order.user_id) as conn:
            replay = await find_replay(conn, order.user_id, order.idempotency_key)
            if replay is not None:
                return replay
            outputs = await list_lost_outputs(conn, order.user_id, order.execution_id)
        served = await find_served_jobs(services, outputs)
        async with services.database.as_user(order.user_id) as conn:
            replay = await find_replay(conn, order.user_id, order.idempotency_key)
            if replay is not None:
                return replay
            queued = await _queue(services, conn, order, render, served)
    except LimitReachedError as reached:
        raise await explain_limit(services, order.user_id, reached) from None
    log.info(
        "execution.retried",
        execution_id=order.execution_id,
        user_id=order.user_id,
        generation=queued.order.generation,
        has_slot=queued.has_slot,
    )
    await _close_earlier_run(services, order.execution_id, queued.order.generation)
    if queued.has_slot:
        await try_start_execution(
            services.temporal, services.database, queued.order, prompt=queued.prompt
        )
    return Answer(body=queued.body)


async def _queue(
    services: OrderingServices,
    conn: Connection,
    order: RetryOrder,
    render: Render,
    served: Collection[JobId],
) -> QueuedExecution:
    """Decide the action for each step, and write it under the lock of the execution's row.

    Of two retries at once, the second waits for the lock and then finds a queued execution.
    """
    execution = await lock_execution(conn, order.user_id, order.execution_id)
    if execution is None:
        raise ExecutionNotFoundError
    _check_ended(execution)
    purchases = await lock_purchases(conn, order.execution_id)
    steps = decide_retry(execution.plan, purchases, execution.error, served=served)
    if not order.accepts_double_cost:
        _check_double_cost(steps)
    to_buy = [item.step for item in steps if item.action is RetryAction.BOUGHT]
    kept = [item.step.name for item in steps if item.action in _USED]
    quotes, alternatives = await _quote(services, conn, execution, to_buy, kept)
    retry = QueuedRetry(
        execution_id=execution.execution_id,
        generation=execution.generation + 1,
        kept=[_kept(item) for item in steps if item.action in _USED],
        to_buy=[StepCost(step=step, nano_usd=quotes[step.name].worst_nano_usd) for step in to_buy],
    )
    most = order.max_cost_nano_usd
    if most is not None and retry.held_nano_usd > most:
        raise MaxCostError(most, retry.to_buy)
    body = render(retry)
    await store_answer(conn, order.user_id, order.idempotency_key, body)
    try:
        has_slot = await queue_again(
            conn,
            execution,
            steps,
            quotes,
            services.limits,
            alternatives=alternatives,
            key_id=order.key_id,
        )
    except STORE_LIMIT_ERRORS as error:
        raise LimitReachedError(error, retry.held_nano_usd) from None
    except MaxCostExceededError as error:
        raise MaxCostError(
            error.max_cost_nano_usd, retry.to_buy, before_nano_usd=error.before_nano_usd
        ) from None
    return QueuedExecution(
        order=ExecutionOrder(
            execution_id=execution.execution_id,
            user_id=execution.user_id,
            generation=retry.generation,
            plan=execution.plan,
        ),
        prompt=execution.prompt,
        body=body,
        has_slot=has_slot,
    )


async def _quote(
    services: OrderingServices,
    conn: Connection,
    execution: RetriedExecution,
    to_buy: Sequence[Step],
    kept: Collection[str],
) -> tuple[dict[str, Quote], dict[str, tuple[Alternative, ...]]]:
    """Return today's quotes and alternatives of these steps, if their providers take orders.

    kept: the names of steps whose files the retry uses, which may decide what others cost.
    """
    user_id, execution_id = execution.user_id, execution.execution_id
    parameters = await list_parameters(conn, execution_id)
    planned = await list_alternatives(conn, execution_id)
    providers = [
        [step.provider, *(item.provider for item in planned[step.name])] for step in to_buy
    ]
    await check_breakers(conn, user_id, providers)
    await check_provider_queues(conn, user_id, to_buy, services.limits)
    if not to_buy:
        return {}, {}
    catalogue = await get_catalogue_in(conn, services.providers, user_id)
    assets = await keep_assets(conn, user_id, sources_of(parameters.values()))
    stored = await list_execution_assets(conn, execution_id)
    files = files_of_plan(catalogue, execution.plan, parameters, assets, kept=kept, stored=stored)
    quoted = {
        step.name: quote_again(catalogue, step, parameters[step.name], files, planned[step.name])
        for step in to_buy
    }
    quotes = {name: quote for name, (quote, _) in quoted.items()}
    return quotes, {name: others for name, (_, others) in quoted.items()}


def _check_ended(execution: RetriedExecution) -> None:
    if not execution.status.ended:
        raise ExecutionNotEndedError(execution.status)
    if execution.status is ExecutionStatus.COMPLETED:
        raise NothingToRetryError


def _check_double_cost(steps: Sequence[StepRetry]) -> None:
    """Leave it to the user to buy a step again while an earlier bill for it is open."""
    doubtful = [
        StepCost(step=item.step, nano_usd=purchase.cost_nano_usd, job_id=purchase.job_id)
        for item in steps
        for purchase in item.doubtful
    ]
    if doubtful:
        raise PossibleDoubleCostError(doubtful)


def _kept(item: StepRetry) -> KeptPurchase:
    job = item.job or item.last
    state = _CONTINUED_STATES.get(job.state, job.state)
    return KeptPurchase(
        step=item.step.name,
        job_id=job.job_id,
        state=JobState.COMPLETED if item.action is RetryAction.KEPT else state,
        cost_nano_usd=job.cost_nano_usd,
    )


async def _close_earlier_run(
    services: OrderingServices, execution_id: ExecutionId, generation: int
) -> None:
    """Wait briefly until the workflow of the previous generation has closed.

    A start before that would only find it running. It closes a moment after its last transaction,
    unless it waits for the receiver of its webhook: then the signal ends that wait. The reconciler
    starts what cannot be started now.
    """
    handle = services.temporal.get_workflow_handle(execution_id)
    try:
        async with asyncio.timeout(CLOSE_WAIT_SECONDS):
            open_ = await signal_retry(services.temporal, execution_id, generation=generation)
            while open_:
                description = await handle.describe(rpc_timeout=START_RPC_TIMEOUT)
                if description.status is not WorkflowExecutionStatus.RUNNING:
                    return
                await asyncio.sleep(CLOSE_POLL_SECONDS)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            log.warning(
                "temporal.describe_failed", execution_id=execution_id, reason=str(error)[:200]
            )
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning("workflow.not_closed_yet", execution_id=execution_id, reason=str(error)[:200])
