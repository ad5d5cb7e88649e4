"""ASGI middleware that sets the security headers of every response."""

import base64
import hashlib
import re
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOCS_PATH: Final = "/docs"
CSP: Final = "default-src 'none'; frame-ancestors 'none'"
_DOCS_CSP: Final = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_INLINE_SCRIPT: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


class SecurityHeaders:
    """Forbid frames, type sniffing and, except for the API page's own scripts, active content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        held: Message | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                headers.setdefault("Content-Security-Policy", CSP)
                if scope["path"] == DOCS_PATH and message["status"] == 200:
                    held = message  # its policy has the hashes of the scripts in the body
                    return
            elif held is not None:
                policy = _DOCS_CSP.format(scripts=_hashes(message.get("body", b"")))
                MutableHeaders(scope=held)["Content-Security-Policy"] = policy
                start, held = held, None
                await send(start)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _hashes(page: bytes) -> str:
    digests = (hashlib.sha256(script).digest() for script in _INLINE_SCRIPT.findall(page))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
