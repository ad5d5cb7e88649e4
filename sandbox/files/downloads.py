"""Download routes like the vendors' CDNs: no key, HEAD and ranges, and an expiry."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sandbox.faults.book import FILES, Fault, FaultBook
from sandbox.files import renderer
from sandbox.http.exchange import HTML_PAGE, Exchange
from sandbox.jobs.store import Jobs, StoredFile
from sandbox.settings import Json

DEFAULT_HUGE_BYTES = 2 * 1024 * 1024 * 1024


class Downloads:
    """The route of produced files, with the faults of files."""

    def __init__(self, jobs: Jobs, faults: FaultBook, exchange: Exchange) -> None:
        self._jobs = jobs
        self._faults = faults
        self._exchange = exchange

    def routes(self) -> list[BaseRoute]:
        return [Route("/files/{name}", self.get, methods=["GET", "HEAD"])]

    async def get(self, request: Request) -> Response:
        file = self._jobs.find_file(request.path_params["name"])
        if file is None:
            return Response("Not Found", 404, media_type="text/plain")
        if self._gone(file):
            return _expired(file)
        served = FileResponse(self._jobs.path_of(file), media_type=file.content_type)
        if request.method == "HEAD":  # faults apply to downloads only
            return served
        fault = self._faults.take(file.provider, file.model, "file", FILES, path=request.url.path)
        if fault is not None:
            return await self._faulty(file, fault, served)
        huge = self._faults.take(
            file.provider, file.model, "file", frozenset({"huge_body"}), path=request.url.path
        )
        if huge is not None:
            return _huge(file, huge.params)

        async def handler() -> Response:
            return served

        return await self._exchange(request, file.provider, file.model, "file", handler)

    def _gone(self, file: StoredFile) -> bool:
        if file.expires_at < time.time():
            self._jobs.path_of(file).unlink(missing_ok=True)
            return True
        return False

    async def _faulty(self, file: StoredFile, fault: Fault, served: FileResponse) -> Response:
        params, path = fault.params, self._jobs.path_of(file)
        if fault.fault == "expired_file":
            file = replace(file, expires_at=0.0, expired_status=int(params.get("status", 404)))
            self._jobs.save_file(file)  # expiry is permanent
            return _expired(file)
        if fault.fault == "slow_file":
            size = path.stat().st_size
            drip = _drip(
                path.read_bytes(),
                int(params.get("chunk_bytes", 4096)),
                float(params.get("seconds_per_chunk", 0.5)),
            )
            return StreamingResponse(
                drip, media_type=file.content_type, headers={"Content-Length": str(size)}
            )
        if fault.fault == "file_encoding":
            encoding = str(params.get("value", "aws-chunked"))
            return FileResponse(
                path, media_type=file.content_type, headers={"Content-Encoding": encoding}
            )
        if fault.fault == "late_index":
            content = await run_in_threadpool(renderer.index_last, path.read_bytes())
            return Response(content, media_type=file.content_type)
        return _wrong(file, path, params.get("form", "html"))


def _expired(file: StoredFile) -> Response:
    return Response("Not Found", file.expired_status, media_type="text/plain")


def _wrong(file: StoredFile, path: Path, form: str) -> Response:
    """Return wrong bytes under the right content type.

    The body is an HTML page, an unknown type (`magic`), an audio file (`other_kind`), half of the
    file, an MP4 without its index, or empty. `cut` announces the whole length and closes the
    connection after half of it.
    """
    content = path.read_bytes()
    if form == "truncated":
        return Response(content[: len(content) // 2], media_type=file.content_type)
    if form == "without_index":
        return Response(_without_index(content), media_type=file.content_type)
    if form == "cut":
        length = {"Content-Length": str(len(content))}
        return StreamingResponse(
            _once(content[: len(content) // 2]), media_type=file.content_type, headers=length
        )
    if form == "magic":
        return Response(b"%PDF-1.7\n" + content[9:], media_type=file.content_type)
    if form == "other_kind":
        other = b"fLaC" + bytes(len(content))
        return Response(other, media_type=file.content_type)
    if form == "empty":
        return Response(b"", media_type=file.content_type)
    return Response(HTML_PAGE.format("200 OK").encode(), media_type=file.content_type)


def _without_index(content: bytes) -> bytes:
    """Return an MP4 whose writer was stopped before it wrote `moov`."""
    kept, position = b"", 0
    while position < len(content):
        end = position + int.from_bytes(content[position : position + 4], "big")
        if content[position + 4 : position + 8] != b"moov":
            kept += content[position:end]
        position = end
    return kept


def _huge(file: StoredFile, params: Json) -> Response:
    size = int(params.get("bytes", DEFAULT_HUGE_BYTES))
    headers = {"Content-Length": str(size)} if params.get("content_length", False) else None
    return StreamingResponse(_zeros(size), media_type=file.content_type, headers=headers)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _drip(content: bytes, chunk_bytes: int, seconds_per_chunk: float) -> AsyncIterator[bytes]:
    for start in range(0, len(content), chunk_bytes):
        yield content[start : start + chunk_bytes]
        await asyncio.sleep(seconds_per_chunk)


async def _zeros(size: int) -> AsyncIterator[bytes]:
    """Yield a body that begins like an MP4, so that only its size shows the fault."""
    head = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"[:size]
    yield head
    left, chunk = size - len(head), bytes(262_144)
    while left > 0:
        yield chunk[: min(left, len(chunk))]
        left -= len(chunk)
