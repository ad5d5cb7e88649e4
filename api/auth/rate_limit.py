"""Rate limits over HTTP: the class of a request, the 429 problem and the response headers.

The header fields are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from typing import Final

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems import ProblemError
from core.domain.failures import FailureCode
from core.store.accounts.rate_limit import Rate, RouteClass

_ONLY_READS: Final = frozenset({"/api/quotes"})
"""Requests that start, spend and change nothing, though they are POSTs."""
_CANCEL: Final = "/cancel"
_STATE: Final = "rate"


def only_reads(method: str, path: str) -> bool:
    return method in ("GET", "HEAD") or path in _ONLY_READS


def class_of(request: Request) -> RouteClass:
    """Return the limit that a request counts for.

    Cancelling, revoking and deleting count as reads, the larger limit: a user who has reached the
    limit of writes must still be able to stop spending and to revoke a leaked key.
    """
    path, method = request.url.path, request.method
    is_read = only_reads(method, path) or method == "DELETE" or path.endswith(_CANCEL)
    return RouteClass.READS if is_read else RouteClass.WRITES


def announce(request: Request, rate: Rate) -> None:
    """Add the rate headers to the response of this request."""
    setattr(request.state, _STATE, rate)


def rate_limited(rate: Rate) -> ProblemError:
    return ProblemError(
        FailureCode.RATE_LIMITED,
        f"Too many {_REQUESTS[rate.route_class]} with {_SUBJECTS[rate.of_user]} (limit {rate.quota} in "
        f"{rate.window_seconds} seconds). Retry in {rate.next_seconds} seconds.",
        members={
            "rateLimit": {
                "class": rate.route_class,
                "limit": rate.quota,
                "windowSeconds": rate.window_seconds,
                "remaining": rate.remaining,
                "resetSeconds": rate.next_seconds,
            }
        },
        headers={"Retry-After": str(rate.next_seconds)},
    )


_REQUESTS: Final = {
    RouteClass.WRITES: "requests that start or change something",
    RouteClass.READS: "requests that read, cancel or delete something",
}
_SUBJECTS: Final = {False: "this credential", True: "all credentials of this account"}


class RateHeaders:
    """Plain ASGI middleware around everything that answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add_headers(message: Message) -> None:
            rate: Rate | None = scope.get("state", {}).get(_STATE)
            if rate is not None and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                name = f'"{rate.route_class}"'
                headers["RateLimit-Policy"] = f"{name};q={rate.quota};w={rate.window_seconds}"
                headers["RateLimit"] = f"{name};r={rate.remaining};t={rate.next_seconds}"
            await send(message)

        await self._app(scope, receive, add_headers)
