"""Decide about an approval step: commit the decision first, then signal the workflow."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from core.domain.ids import ExecutionId, UserId
from core.ordering.errors import (
    ApprovalDecidedError,
    ApprovalNotOpenError,
    ExecutionNotFoundError,
    FaultCode,
    FieldError,
    InvalidFieldsError,
)
from core.ordering.services import OrderingServices
from core.ordering.workflow_starts import signal_decision
from core.platform.observability.logging import get_logger
from core.platform.temporal.client import UNREACHABLE
from core.platform.temporal.policies import START_RPC_TIMEOUT
from core.store.approvals.decisions import (
    LockedApproval,
    choose,
    lock_approval,
    lock_execution,
    reject,
)
from core.store.approvals.looks import Option
from core.store.database import Connection

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionOrder:
    """The decision of a user. option: the chosen step; None: the only one. rejects: none of them.

    step: the approval step.
    """

    user_id: UserId
    execution_id: ExecutionId
    step: str
    option: str | None = None
    rejects: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A committed decision. option: None if all options were rejected."""

    step: str
    option: str | None
    decided_at: datetime


async def decide_approval(services: OrderingServices, order: DecisionOrder) -> Decision:
    """Commit a decision and signal the workflow. The reconciler repeats a signal that is lost.

    Repeating the same decision returns it again. Raises OrderingError; then nothing was written.
    """
    async with services.database.as_user(order.user_id) as conn:
        execution = await lock_execution(conn, order.user_id, order.execution_id)
        if execution is None:
            raise ExecutionNotFoundError
        if order.step not in execution.approval_steps:
            allowed = list(execution.approval_steps)
            raise InvalidFieldsError(
                FieldError(
                    field="step",
                    detail="is not an approval step of the execution",
                    allowed=allowed,
                    code=FaultCode.UNKNOWN_STEP,
                )
            )
        approval = await lock_approval(conn, order.execution_id, order.step)
        if approval is None:
            raise ApprovalNotOpenError(order.step)
        option = _option(approval, order)
        decision = _earlier(approval, order, option)
        if decision is None:
            if not (approval.waits and execution.continues):
                raise ApprovalNotOpenError(order.step)
            decision = await _decide(conn, approval, order, option)
            log.info(
                "approval.decided",
                execution_id=order.execution_id,
                step=order.step,
                option=decision.option,
            )
    await _signal(services, order, execution.generation)
    return decision


def _option(approval: LockedApproval, order: DecisionOrder) -> Option | None:
    """Return the chosen option; None: all are rejected. Raises InvalidFieldsError."""
    if order.rejects:
        return None
    names = [option.step for option in approval.options]
    if order.option is None and len(names) > 1:
        raise InvalidFieldsError(
            FieldError(
                field="option",
                detail="must name the option to choose",
                allowed=names,
                code=FaultCode.MISSING,
            )
        )
    for option in approval.options:
        if order.option in (None, option.step):
            return option
    raise InvalidFieldsError(
        FieldError(
            field="option",
            detail="is not an option of the step",
            allowed=names,
            code=FaultCode.UNKNOWN_STEP,
        )
    )


def _earlier(
    approval: LockedApproval, order: DecisionOrder, option: Option | None
) -> Decision | None:
    """Return the decision if it was made before. Raises ApprovalDecidedError for another one."""
    if approval.decided_at is None:
        return None
    if approval.choice != (option.step if option is not None else None):
        raise ApprovalDecidedError(order.step, approval.choice, approval.decided_at)
    return Decision(step=order.step, option=approval.choice, decided_at=approval.decided_at)


async def _decide(
    conn: Connection, approval: LockedApproval, order: DecisionOrder, option: Option | None
) -> Decision:
    if option is None:
        decided_at = await reject(conn, approval)
        return Decision(step=order.step, option=None, decided_at=decided_at)
    decided_at = await choose(conn, approval, option)
    return Decision(step=order.step, option=option.step, decided_at=decided_at)


async def _signal(services: OrderingServices, order: DecisionOrder, generation: int) -> None:
    try:
        async with asyncio.timeout(START_RPC_TIMEOUT.total_seconds()):
            await signal_decision(
                services.temporal, order.execution_id, order.step, generation=generation
            )
    except (TimeoutError, *UNREACHABLE) as error:
        log.warning(
            "approval.not_signalled", execution_id=order.execution_id, reason=str(error)[:200]
        )
