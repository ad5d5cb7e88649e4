"""The rate limit of a request: its class, the 429 problem, and the headers of every response.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from typing import Final

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems.documents import ProblemError
from api.http.problems.texts import RATE_EXCEEDED
from core.domain.failures import FailureCode
from core.store.accounts.rate_limit import Rate, RouteClass

READING_POSTS: Final = ("/api/quotes", "/api/plans/import")
"""POST routes that start, spend and change nothing, by the beginnings of their paths."""
TICKETS_SUFFIX: Final = "/stream-tickets"
"""A ticket only reads, so its POST needs no more than that."""
CANCEL_SUFFIX: Final = "/cancel"
"""Cancels and deletions count as reads, so that a user at the limit of writes can still end
spending and revoke a leaked key.
"""
RESULTS_SUFFIX: Final = "/results"
"""A listener reports once for each webhook that it received."""
REQUESTS: Final = {
    RouteClass.WRITES: "requests that start or change something",
    RouteClass.READS: "requests that read",
}
SUBJECTS: Final = {False: "this credential", True: "all credentials of this account"}
_STATE: Final = "rate"


def only_reads(method: str, path: str) -> bool:
    return (
        method in ("GET", "HEAD") or path.startswith(READING_POSTS) or path.endswith(TICKETS_SUFFIX)
    )


def class_of(request: Request) -> RouteClass:
    """Return the class that a request counts in."""
    method, path = request.method, request.url.path
    ends_something = method == "DELETE" or path.endswith(CANCEL_SUFFIX)
    is_read = only_reads(method, path) or ends_something or path.endswith(RESULTS_SUFFIX)
    return RouteClass.READS if is_read else RouteClass.WRITES


def set_rate_headers(request: Request, rate: Rate) -> None:
    """Have the response of this request, of any status, report the rate."""
    setattr(request.state, _STATE, rate)


def rate_limited(rate: Rate) -> ProblemError:
    return ProblemError(
        FailureCode.RATE_LIMITED,
        RATE_EXCEEDED.format(
            quota=rate.quota,
            requests=REQUESTS[rate.route_class],
            subject=SUBJECTS[rate.of_user],
            window_seconds=rate.window_seconds,
            next_seconds=rate.next_seconds,
        ),
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


class RateHeaders:
    """ASGI middleware that adds the rate headers to every response of an authenticated request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_rate(message: Message) -> None:
            rate: Rate | None = scope.get("state", {}).get(_STATE)
            if rate is not None and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                name = f'"{rate.route_class}"'
                headers["RateLimit-Policy"] = f"{name};q={rate.quota};w={rate.window_seconds}"
                headers["RateLimit"] = f"{name};r={rate.remaining};t={rate.next_seconds}"
            await send(message)

        await self._app(scope, receive, send_with_rate)
