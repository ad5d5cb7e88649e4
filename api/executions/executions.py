"""Get, list, cancel and delete executions."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth.authentication import CurrentUser
from api.executions.outlook import NO_OUTLOOK
from api.executions.parameters import ExecutionIdPath
from api.executions.presenter import (
    cancelled_response,
    execution_list_response,
    execution_response,
)
from api.executions.requests import ListExecutionsQuery
from api.executions.responses import Cancelled, Deleted, Execution, ExecutionList
from api.http.ids import decode_cursor, encode_cursor
from api.http.openapi import problems
from api.http.problems.documents import not_found
from api.http.problems.ordering import EXECUTIONS_PATH
from api.services import services_of
from core.domain.failures import FailureCode
from core.ordering import cancel as ordering
from core.ordering.delete import delete_execution as erase
from core.store.executions.views.lists import ExecutionFilter, list_executions
from core.store.executions.views.status import find_execution

router = APIRouter(prefix="/api", tags=["executions"])


@router.get(
    "/executions/{execution_id}",
    summary="Get an execution",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def get_execution(
    request: Request, user_id: CurrentUser, execution_id: ExecutionIdPath
) -> Execution:
    """Return the execution, its jobs, cost and webhook as of one moment."""
    services = services_of(request)
    async with services.database.reading_as(user_id) as conn:
        execution = await find_execution(conn, user_id, execution_id)
        if execution is None:
            raise not_found(EXECUTIONS_PATH)
        outlooks = await services.outlooks.read(conn, user_id, [execution])
    return execution_response(execution, services.links, outlooks.get(execution_id, NO_OUTLOOK))


@router.get(
    "/executions",
    summary="List executions",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def list_own_executions(
    request: Request, user_id: CurrentUser, query: Annotated[ListExecutionsQuery, Query()]
) -> ExecutionList:
    """Return your executions, newest first.

    For the next page, send `nextCursor` with the same filters. Executions created in the meantime
    do not shift the pages. A page can have fewer executions than its limit, or none, and still have
    a `nextCursor`: a page searches a limited number of executions.
    """
    selection = ExecutionFilter(
        limit=query.limit,
        before_id=decode_cursor(query.cursor) if query.cursor is not None else None,
        statuses=query.status,
        metadata_key=query.metadata_key,
        metadata_value=query.metadata_value,
        type=query.type,
        created_after=query.created_after,
        created_before=query.created_before,
    )
    services = services_of(request)
    async with services.database.reading_as(user_id) as conn:
        page = await list_executions(conn, user_id, selection)
        outlooks = await services.outlooks.read(conn, user_id, page.data)
    next_id = page.next_before_id
    cursor = encode_cursor(next_id) if next_id is not None else None
    return execution_list_response(page, cursor, services.links, outlooks)


@router.post(
    "/executions/{execution_id}/cancel",
    summary="Cancel an execution",
    response_model=Cancelled,
    responses={
        200: {"description": "The execution has ended."},
        202: {
            "description": "The execution is ending; its cost is not final.",
            "model": Cancelled,
        },
        **problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
    },
)
async def cancel_execution(
    request: Request, response: Response, user_id: CurrentUser, execution_id: ExecutionIdPath
) -> Cancelled:
    """Stop buying and cancel the jobs that run at providers.

    Waits up to 5 s for the execution to end. Repeating the request is safe.
    """
    services = services_of(request).ordering
    execution = await ordering.cancel_execution(services, user_id, execution_id)
    response.status_code = 200 if execution.status.ended else 202
    return cancelled_response(execution)


@router.delete(
    "/executions/{execution_id}",
    summary="Delete an execution",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.EXECUTION_NOT_ENDED,
        FailureCode.EXECUTION_NOT_FINAL,
        FailureCode.ASSET_IN_USE,
    ),
)
async def delete_execution(
    request: Request, user_id: CurrentUser, execution_id: ExecutionIdPath
) -> Deleted:
    """Erase prompt, metadata, results, webhooks and files of an execution that has ended.

    Its cost stays in the ledger and in the usage. The execution and its files are answered with 404
    from now on; `filesPending` becomes 0 within seconds of storage being available. Repeating the
    request returns the receipt again.
    """
    receipt = await erase(services_of(request).ordering.database, user_id, execution_id)
    return Deleted(**asdict(receipt))
