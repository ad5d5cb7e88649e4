"""Cancel an execution: commit the cancel first, then signal the workflow and wait for the end."""

import asyncio
from typing import Final

from core.domain.ids import ExecutionId, UserId
from core.domain.states import ExecutionStatus
from core.ordering.errors import ExecutionNotFoundError
from core.ordering.services import OrderingServices
from core.ordering.workflow_starts import signal_cancel, try_start_execution
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.executions.executions import mark_cancel_requested
from core.store.executions.unfinished import get_order
from core.store.executions.views.status import ExecutionStatusRecord, find_execution
from core.store.jobs.callbacks import notify_open_jobs

CANCEL_WAIT_SECONDS: Final = 5.0
CANCEL_POLL_SECONDS: Final = 0.15
CANCEL_REASON: Final = "cancelled by the user"

log = get_logger(__name__)


async def cancel_execution(
    services: OrderingServices, user_id: UserId, execution_id: ExecutionId
) -> ExecutionStatusRecord:
    """Cancel an execution and return its state, within a few seconds ended or not.

    Repeating is safe, and an execution that has ended is returned unchanged. Raises
    ExecutionNotFoundError if it does not exist or belongs to another user.
    """
    execution = await _get_execution(services, user_id, execution_id)
    if execution.status.ended:
        return execution
    async with services.database.as_user(user_id) as conn:
        await mark_cancel_requested(
            conn, execution_id, CANCEL_REASON, generation=execution.generation
        )
        await notify_open_jobs(conn, execution_id)
    was_running = await _signal(services, execution)
    if not was_running and execution.status is ExecutionStatus.QUEUED:
        await _start_to_end(services, user_id, execution_id)
    return await _wait_for_end(services, user_id, execution_id)


async def _get_execution(
    services: OrderingServices, user_id: UserId, execution_id: ExecutionId
) -> ExecutionStatusRecord:
    async with services.database.reading_as(user_id) as conn:
        execution = await find_execution(conn, user_id, execution_id)
    if execution is None:
        raise ExecutionNotFoundError
    return execution


async def _signal(services: OrderingServices, execution: ExecutionStatusRecord) -> bool:
    """Signal the workflow. False: no workflow of this execution is running.

    The cancel is committed, so the reconciler repeats a signal that fails here.
    """
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            return await signal_cancel(
                services.temporal,
                execution.execution_id,
                CANCEL_REASON,
                generation=execution.generation,
            )
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning(
            "execution.cancel_not_signalled",
            execution_id=execution.execution_id,
            reason=str(error)[:200],
        )
        return True


async def _start_to_end(
    services: OrderingServices, user_id: UserId, execution_id: ExecutionId
) -> None:
    """Start the workflow of an execution that waits for a slot, so that it ends the execution.

    Ending a cancelled execution takes no slot.
    """
    async with services.database.reading_as(user_id) as conn:
        stored = await get_order(conn, execution_id)
    await try_start_execution(
        services.temporal, services.database, stored.order(), prompt=stored.prompt
    )


async def _wait_for_end(
    services: OrderingServices, user_id: UserId, execution_id: ExecutionId
) -> ExecutionStatusRecord:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + CANCEL_WAIT_SECONDS
    while True:
        execution = await _get_execution(services, user_id, execution_id)
        if execution.status.ended or loop.time() > give_up_at:
            return execution
        await asyncio.sleep(CANCEL_POLL_SECONDS)
