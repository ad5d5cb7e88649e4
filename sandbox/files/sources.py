"""Fetching of the files that an input names: over HTTP, of a data URI or of the sandbox's own."""

import asyncio
import base64
import binascii
import hashlib
import math
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from sandbox.files.encoding import UnreadableError
from sandbox.files.probe import measure
from sandbox.jobs.store import Job, Jobs
from sandbox.models.fields import NamedFile, Role, named_files
from sandbox.models.model import Model
from sandbox.models.orders import Facts
from sandbox.settings import Json

SOURCE_BYTES = 20 * 1024 * 1024
SOURCE_SECONDS = 20.0
_UNREADABLE: Mapping[Role, tuple[str, str]] = {
    "image": ("image_load_error", "The image can't be decoded"),
    "end_image": ("image_load_error", "The image can't be decoded"),
    "audio": ("unsupported_audio_format", "The audio file can't be decoded"),
    "video": ("unsupported_video_format", "The video file can't be decoded"),
}


class SourceError(Exception):
    """The model cannot use its input. `detail` is neutral; each vendor has its own wording."""

    def __init__(self, detail: Json) -> None:
        super().__init__(str(detail))
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Sources:
    """The fetched files of a job by their role. records: what the job's row shows of them."""

    contents: Mapping[Role, bytes] = field(default_factory=dict[Role, bytes])
    facts: Mapping[Role, Facts] = field(default_factory=dict[Role, Facts])
    records: list[Json] = field(default_factory=list[Json])


class Fetcher:
    """Fetches and measures the files that a job's input names."""

    def __init__(self, jobs: Jobs, threads: Executor) -> None:
        self._jobs = jobs
        self._threads = threads
        self._client = httpx.AsyncClient(follow_redirects=True, trust_env=False, verify=False)  # noqa: S501 # local sources have self-signed certificates

    async def fetch(self, job: Job, model: Model) -> Sources:
        """Fetch all files of an input; the first of a list is used. Raise SourceError."""
        files = list(named_files(model.fields, job.input))
        loaded = await asyncio.gather(*(self._load(job, file) for file in files))
        contents: dict[Role, bytes] = {}
        facts: dict[Role, Facts] = {}
        for file, (content, measured) in zip(files, loaded, strict=True):
            contents.setdefault(file.role, content)
            facts.setdefault(file.role, measured)
        records = [
            _record(file, content, measured)
            for file, (content, measured) in zip(files, loaded, strict=True)
        ]
        return Sources(contents, facts, records)

    async def _load(self, job: Job, file: NamedFile) -> tuple[bytes, Facts]:
        shown = None if file.url.startswith("data:") else file.url
        try:
            content = await self._content(job, file.url)
            facts = await asyncio.get_running_loop().run_in_executor(
                self._threads, measure, file.role, content
            )
        except SourceError as error:
            raise SourceError(error.detail | {"field": file.field}) from error
        except UnreadableError as error:
            kind, message = _UNREADABLE[file.role]
            raise SourceError(_refused(kind, message, shown, file.field)) from error
        low, high = file.seconds or (0.0, math.inf)
        if not low <= facts.seconds <= high:
            kind = f"{facts.medium}_duration_too_{'short' if facts.seconds < low else 'long'}"
            message = f"Duration must be between {low:g} and {high:g} seconds"
            raise SourceError(_refused(kind, message, shown, file.field))
        return content, facts

    async def _content(self, job: Job, url: str) -> bytes:
        if url.startswith("data:"):
            return _data_uri(url)
        name = url.rsplit("/", 1)[-1]
        own = (f"{job.base_url}/files/{name}", f"{job.base_url}/replicate/v1/files/{name}")
        if url in own:  # read from disk instead of over the network
            file = self._jobs.find_file(name)
            if file is None or file.expires_at < time.time():
                raise SourceError(_unreachable(url))
            return self._jobs.path_of(file).read_bytes()
        return await self._downloaded(url)

    async def _downloaded(self, url: str) -> bytes:
        if urlsplit(url).scheme not in {"http", "https"}:
            raise SourceError(_unreachable(url))
        content = bytearray()
        try:
            async with (
                asyncio.timeout(SOURCE_SECONDS),
                self._client.stream("GET", url, timeout=SOURCE_SECONDS) as response,
            ):
                response.raise_for_status()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > SOURCE_BYTES:
                        raise SourceError(_too_large(url))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise SourceError(_unreachable(url)) from error
        return bytes(content)

    async def close(self) -> None:
        await self._client.aclose()


def _record(file: NamedFile, content: bytes, facts: Facts) -> Json:
    return {
        "field": file.field, "role": file.role, "url": file.url[:200], "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), "width": facts.width, "height": facts.height,
        "seconds": facts.seconds, "frames": facts.frames,
    }  # fmt: skip


def _data_uri(url: str) -> bytes:
    head, comma, data = url.partition(",")
    try:
        content = (
            base64.b64decode(data, validate=True)
            if head.endswith(";base64")
            else unquote_to_bytes(data)
        )
    except binascii.Error as error:
        raise SourceError(_refused("image_load_error", "Invalid data URI", None)) from error
    if not comma:
        raise SourceError(_refused("image_load_error", "Invalid data URI", None))
    if len(content) > SOURCE_BYTES:
        raise SourceError(_too_large(None))
    return content


def _unreachable(url: str) -> Json:
    return _refused("file_download_error", "Failed to download the file", url)


def _too_large(url: str | None) -> Json:
    return _refused("file_too_large", "File size exceeds 20 MB", url)


def _refused(kind: str, message: str, url: str | None, field: str | None = None) -> Json:
    return {"status": 422, "type": kind, "message": message, "url": url, "field": field}
