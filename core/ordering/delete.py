"""Delete an execution that has ended: erase what the user gave and got, keep the money."""

from core.domain.ids import ExecutionId, UserId
from core.ordering.errors import (
    AssetInUseError,
    ExecutionNotEndedError,
    ExecutionNotFinalError,
    ExecutionNotFoundError,
)
from core.platform.observability.logging import get_logger
from core.store.database import Database
from core.store.executions.deletion import (
    DeletionReceipt,
    erase_execution,
    find_output_use,
    get_receipt,
    lock_deletable,
)

log = get_logger(__name__)


async def delete_execution(
    database: Database, user_id: UserId, execution_id: ExecutionId
) -> DeletionReceipt:
    """Delete an execution and return the receipt. Repeating returns the same receipt.

    One transaction erases the rows and queues the files, which the reconciler deletes. Raises
    ExecutionNotFoundError, ExecutionNotEndedError, ExecutionNotFinalError, AssetInUseError.
    """
    async with database.as_user(user_id) as conn:
        execution = await lock_deletable(conn, user_id, execution_id)
        if execution is None:
            raise ExecutionNotFoundError
        if not execution.deleted:
            if not execution.status.ended:
                raise ExecutionNotEndedError(execution.status)
            if execution.open_bill or execution.pending_webhook:
                raise ExecutionNotFinalError(open_bill=execution.open_bill)
            user = await find_output_use(conn, user_id, execution_id)
            if user is not None:
                raise AssetInUseError(execution_id=user, output=False)
            await erase_execution(conn, user_id, execution_id)
        receipt = await get_receipt(conn, user_id, execution_id)
    if not execution.deleted:
        log.info(
            "execution.deleted", user_id=user_id, execution_id=execution_id, files=receipt.files
        )
    return receipt
