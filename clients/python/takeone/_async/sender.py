"""The transport for asyncio: sends calls and sleeps between attempts."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar, cast

import httpx
from pydantic import BaseModel

from takeone._async import _io
from takeone._calls import assets
from takeone._core.attempts import Attempts
from takeone._core.calls import Answer, Call
from takeone._core.files import PartFile
from takeone._core.settings import Settings
from takeone.errors import DownloadError, UnusableAnswerError
from takeone.models.base import Page

T = TypeVar("T", bound=BaseModel | None)
M = TypeVar("M", bound=BaseModel)


class Sender:
    """Sends calls over one pool of connections."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self.settings = settings
        self.http = http

    def __reduce__(self) -> tuple[object, ...]:
        """Make copies and pickles of results without their connection to the service."""
        return type(None), ()

    async def send(self, call: Call[T], settings: Settings | None = None) -> T:
        """Send a call until it succeeds or is refused, and return its result.

        settings: by default those of the client.
        """
        attempts = Attempts(call, settings or self.settings)
        answer = await self._answer(call, attempts)
        return cast("T", attempts.read(answer, self))

    async def location(self, call: Call[None]) -> str:
        """Return the address that a call is redirected to."""
        answer = await self._answer(call, Attempts(call, self.settings))
        address = answer.headers.get("location")
        if address is None:
            raise UnusableAnswerError(
                f"{call.method} {call.path} was answered with status {answer.status} and no address"
            )
        return str(address)

    async def pages(self, call: Call[Page[M]]) -> AsyncIterator[M]:
        """Yield the items of all pages."""
        while True:
            page = await self.send(call)
            for item in page.data:
                yield item
            if page.next_cursor is None:
                return
            call = call.after(page.next_cursor)

    async def download(self, asset_id: str, sha256: str, path: Path) -> Path:
        """Store the file of an asset under a path, when its checksum is right."""
        call = assets.content(asset_id)
        attempts = Attempts(call, self.settings)
        while True:
            pause = await self._downloaded(attempts, sha256, path)
            if pause is None:
                return path
            await _io.sleep(pause)

    async def _downloaded(self, attempts: Attempts, sha256: str, path: Path) -> float | None:
        try:
            async with self.http.stream(**attempts.request(), follow_redirects=True) as response:
                if not response.is_success:
                    return attempts.answered(_answer(response, await response.aread()))
                with PartFile(path, sha256) as part:
                    async for chunk in response.aiter_bytes():
                        part.write(chunk)
                    part.finish()
                return None
        except (httpx.HTTPError, DownloadError) as error:
            return attempts.failed(error)

    async def _answer(self, call: Call[Any], attempts: Attempts) -> Answer:
        while True:
            try:
                with ExitStack() as files:
                    response = await self.http.request(
                        **attempts.request(), files=_files(call, files), follow_redirects=False
                    )
            except httpx.HTTPError as error:
                pause = attempts.failed(error)
            else:
                answer = _answer(response, response.content)
                again = attempts.answered(answer)
                if again is None:
                    return answer
                pause = again
            await _io.sleep(pause)


def _answer(response: httpx.Response, body: bytes) -> Answer:
    return Answer(response.status_code, response.headers, body)


def _files(call: Call[Any], opened: ExitStack) -> dict[str, Any] | None:
    if call.upload is None:
        return None
    if isinstance(call.upload, bytes):
        return {"file": ("file", call.upload)}
    return {"file": (call.upload.name, opened.enter_context(call.upload.open("rb")))}
