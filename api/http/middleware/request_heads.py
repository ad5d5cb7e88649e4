"""ASGI middleware that refuses requests that a proxy and this server could read differently."""

import re
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems.documents import ProblemError, problem_response
from api.http.problems.texts import HOST_INVALID
from core.domain.failures import FailureCode

_CLOSE: Final = {"Connection": "close"}
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~!$&'()*+,;=%-]{1,255})(?::[0-9]{0,5})?"
)


class RequestHeads:
    """Require one valid Host (RFC 9112, 3.2) and no transfer coding but chunked (6.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = _problem(scope) if scope["type"] == "http" else None
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await problem_response(Request(scope), problem)(scope, receive, send)


def _problem(scope: Scope) -> ProblemError | None:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    hosts = [value for name, value in headers if name == b"host"]
    may_lack_host = scope.get("http_version") == "1.0" and not hosts
    if not may_lack_host and (len(hosts) != 1 or not _HOST.fullmatch(hosts[0])):
        return ProblemError(FailureCode.MALFORMED_REQUEST, HOST_INVALID, headers=_CLOSE)
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        return ProblemError(FailureCode.TRANSFER_CODING_UNSUPPORTED, headers=_CLOSE)
    return None
