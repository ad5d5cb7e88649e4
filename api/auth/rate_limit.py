"""How many requests an API key may send, or a user with tokens: refused beyond, and told with every
answer.

The fields are those of draft-ietf-httpapi-ratelimit-headers-10.
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
_ENDS: Final = "/cancel"
"""A cancel ends spending: it has the larger allowance, so that who has ordered too much can still
end it.
"""
_STATE: Final = "rate"


def only_reads(method: str, path: str) -> bool:
    return method in ("GET", "HEAD") or path in _ONLY_READS


def class_of(request: Request) -> RouteClass:
    path = request.url.path
    return (
        RouteClass.READS
        if only_reads(request.method, path) or path.endswith(_ENDS)
        else RouteClass.WRITES
    )


def announce(request: Request, rate: Rate) -> None:
    """Whatever this request is answered, it says how the allowance stands."""
    setattr(request.state, _STATE, rate)


def rate_limited(rate: Rate) -> ProblemError:
    return ProblemError(
        FailureCode.RATE_LIMITED,
        f"In any {rate.window_seconds} seconds {rate.quota} {_REQUESTS[rate.route_class]} are admitted. "
        f"The next one is admitted in {rate.next_seconds} s.",
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
    RouteClass.READS: "requests that read",
}


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
