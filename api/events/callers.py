"""Who opens a stream: an API key or token, or the ticket of a browser."""

from typing import Annotated

from fastapi import Depends, Query, Request

from api.auth.authentication import AnyCaller, Caller, Credentials, authenticate, insufficient_scope
from api.http.ids import EXECUTION_ID
from api.http.problems.documents import ProblemError
from api.http.problems.texts import TICKET_REFUSED
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId
from core.domain.scopes import Scope
from core.store.events.stream_tickets import TakenTicket, take_ticket


def current_reader(caller: AnyCaller) -> Caller:
    """Return the caller. Raise ProblemError without the scope `read`."""
    if Scope.READ not in caller.scopes:
        raise insufficient_scope(Scope.READ)
    return caller


Reader = Annotated[Caller, Depends(current_reader)]
"""Needs the scope `read`."""


async def _stream_caller(
    request: Request,
    credentials: Credentials,
    ticket: Annotated[
        str | None,
        Query(
            description="A stream ticket, in place of the header Authorization.",
            min_length=1,
            max_length=100,
        ),
    ] = None,
) -> Caller:
    if ticket is None:
        return current_reader(await authenticate(request, credentials))
    taken = await _take(request, ticket, request.path_params["execution_id"])
    if taken is None:
        raise ProblemError(FailureCode.UNAUTHENTICATED, TICKET_REFUSED)
    return Caller(user_id=taken.user_id, scopes=frozenset({Scope.READ}), name=taken.credential)


async def _take(request: Request, ticket: str, execution_id: str) -> TakenTicket | None:
    if not EXECUTION_ID.fullmatch(execution_id):
        return None
    async with services_of(request).database.as_system() as conn:
        return await take_ticket(conn, ticket, ExecutionId(execution_id))


StreamCaller = Annotated[Caller, Depends(_stream_caller)]
"""Needs the scope `read`, or a ticket of the execution, which is used up."""
