"""ASGI middleware that admits only the operator's own browser on this machine.

A page of another origin cannot read the session's token, so it can send no command anyway. The
checks here refuse such a page one step earlier: by the host that its request names, which DNS
rebinding does not change, and by the origin that browsers add.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.platform.observability.logging import get_logger

HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""The port is not checked: an SSH tunnel may have another one."""
SITES: Final = frozenset({"same-origin", "none"})
"""Values of Sec-Fetch-Site. none: the operator opened the address. Programs send no value."""
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

log = get_logger(__name__)


class Guard:
    """Refuses requests of foreign pages with 403, and sets the security headers of responses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        reason = refusal(Headers(scope=scope))
        if reason is not None:
            log.warning("operator.request_refused", reason=reason)
            response = PlainTextResponse(reason, status_code=403)
            await response(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def refusal(headers: Headers) -> str | None:
    """Return why a request is not from a page of this console; None if it may be."""
    host = headers.get("host", "")
    if _host_name(host) not in HOSTS:
        return "This console is reachable as 127.0.0.1 or localhost only."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "Requests of other origins are refused."
    if headers.get("sec-fetch-site", "none") not in SITES:
        return "Requests of other sites are refused."
    return None


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
