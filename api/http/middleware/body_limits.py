"""ASGI middleware that limits the size of a request body and the time it may take to arrive."""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.problems.documents import CALLBACKS_PATH, ProblemError
from api.http.problems.texts import BODY_INCOMPLETE, BODY_TOO_LARGE, BODY_TOO_SLOW
from core.domain.failures import FailureCode

JSON_BODY_BYTES: Final = 64 * 1024
"""Ten times the largest useful body of a user: 500 characters of prompt, two URLs, 4 KB of
metadata.
"""
CALLBACK_BODY_BYTES: Final = 8 * 1024 * 1024
"""Providers repeat a job's input in its callback, where an image may be a data URI."""
VIDEOS_PATH: Final = "/v1/videos"
"""Orders of the OpenAI clients: forms with a picture, or JSON with a picture as a data URL."""
DATA_URL_BYTES: Final = 4 * 1024 * 1024
"""Of a picture in a JSON body, in addition to the other fields."""
UPLOADS_PATHS: Final = ("/api/assets", VIDEOS_PATH)
MULTIPART_BYTES: Final = 64 * 1024
"""Of a multipart body, in addition to the file."""
BODY_SECONDS: Final = 20.0
"""Time for a whole body, from the first read. A proxy in front has the shorter limit."""
UPLOAD_BYTES_PER_SECOND: Final = 256 * 1024
"""An upload has the time of a body, and the time that it takes at this rate."""


class BodyLimits:
    """Raise ProblemError in the app where it reads more, or waits longer, than allowed."""

    def __init__(
        self, app: ASGIApp, *, asset_bytes: Callable[[], int], body_seconds: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._asset_bytes = asset_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit_bytes = self._limit_bytes(scope)
        declared_bytes = _declared_bytes(scope)
        seconds = self._body_seconds
        if _is_upload(scope):
            seconds += (declared_bytes or limit_bytes) / UPLOAD_BYTES_PER_SECOND
        received_bytes = 0
        deadline: float | None = None
        is_complete = False

        async def receive_within_limits() -> Message:
            nonlocal received_bytes, deadline, is_complete
            if is_complete:
                return await receive()  # waits for the client to disconnect
            if declared_bytes > limit_bytes:
                raise _too_large(limit_bytes)
            if deadline is None:
                deadline = asyncio.get_running_loop().time() + seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise _too_slow(seconds) from None
            if message["type"] == "http.disconnect":
                raise ProblemError(FailureCode.INVALID_REQUEST, BODY_INCOMPLETE)
            received_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received_bytes > limit_bytes:
                raise _too_large(limit_bytes)
            return message

        await self._app(scope, receive_within_limits, send)

    def _limit_bytes(self, scope: Scope) -> int:
        if _is_upload(scope):
            return self._asset_bytes() + MULTIPART_BYTES
        if scope["path"] == VIDEOS_PATH:
            return JSON_BODY_BYTES + DATA_URL_BYTES
        is_callback = scope["path"].startswith(f"{CALLBACKS_PATH}/")
        return CALLBACK_BODY_BYTES if is_callback else JSON_BODY_BYTES


def _is_upload(scope: Scope) -> bool:
    content_type = Headers(scope=scope).get("content-type", "").lower()
    return (
        scope["path"] in UPLOADS_PATHS
        and scope["method"] == "POST"
        and content_type.startswith("multipart/")
    )


def _declared_bytes(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length[:20]) if length.isdecimal() else 0


def _too_large(limit_bytes: int) -> ProblemError:
    return ProblemError(
        FailureCode.PAYLOAD_TOO_LARGE, BODY_TOO_LARGE.format(limit_bytes=limit_bytes)
    )


def _too_slow(body_seconds: float) -> ProblemError:
    return ProblemError(
        FailureCode.REQUEST_TIMED_OUT,
        BODY_TOO_SLOW.format(seconds=body_seconds),
        headers={"Connection": "close"},
    )
