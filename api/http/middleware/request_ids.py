"""ASGI middleware that gives every request an id: in the response, in problems and in the log."""

import re
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from core.platform.observability.logging import bind

HEADER: Final = "X-Request-Id"
ACCEPTED: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
"""What is taken over from a client or a proxy. Any other value is replaced."""
_STATE: Final = "request_id"


class RequestIds:
    """Take the id from the header X-Request-Id, or make one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = Headers(scope=scope).get(HEADER, "")
        request_id = sent if ACCEPTED.fullmatch(sent) else f"req_{uuid7().hex}"
        scope.setdefault("state", {})[_STATE] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with bind(request_id=request_id):
            await self._app(scope, receive, send_with_id)


def request_id_of(scope: Scope) -> str:
    """Return the id of a request, "" where the middleware is not installed."""
    request_id: str = scope.get("state", {}).get(_STATE, "")
    return request_id
