"""Fetching of input pictures and production of output files."""

import asyncio
import base64
import binascii
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

from sandbox.files import renderer as media
from sandbox.jobs.store import Job, Jobs, StoredFile
from sandbox.models import Order, fit_to_source
from sandbox.settings import Json

SOURCE_BYTES = 20 * 1024 * 1024
SOURCE_SECONDS = 20.0


class SourceError(Exception):
    """The model cannot use its input. `detail` is neutral; each vendor has its own wording."""

    def __init__(self, detail: Json) -> None:
        super().__init__(str(detail))
        self.detail = detail


class Files:
    """Fetches source pictures and renders the files of jobs in threads."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._client = httpx.AsyncClient(follow_redirects=True, trust_env=False, verify=False)  # noqa: S501 # local sources have self-signed certificates
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="render")

    async def make(
        self, job: Job, order: Order, *, tiny: bool, black: bool, life_seconds: float
    ) -> tuple[Order, list[Json]]:
        """Render and store the files of an order.

        Return the order fitted to its source picture, and the files. Raise SourceError.
        """
        source = None if order.source_url is None else await self._source(job, order.source_url)
        loop = asyncio.get_running_loop()
        try:
            order, contents = await loop.run_in_executor(
                self._threads, _render, order, source, tiny, black
            )
        except media.InvalidPictureError as error:
            raise SourceError(
                _unreadable(order.source_url, "The image can't be decoded")
            ) from error
        content_type = (
            "video/mp4" if order.kind == "video" else media.CONTENT_TYPES[order.image_format]
        )
        extension = "mp4" if order.kind == "video" else order.image_format
        outputs: list[Json] = []
        for content in contents:
            name = f"{secrets.token_urlsafe(18)}.{extension}"
            now = time.time()
            file = StoredFile(
                name=name, job_id=job.id, provider=job.provider, model=job.model, content_type=content_type,
                created_at=now, expires_at=now + life_seconds,
            )  # fmt: skip
            self._jobs.add_file(file, content)
            outputs.append(
                {"name": name, "content_type": content_type, "bytes": len(content),
                 "width": order.width, "height": order.height, "seconds": order.seconds}
            )  # fmt: skip
        return order, outputs

    async def _source(self, job: Job, url: str) -> bytes:
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
        self._threads.shutdown(wait=False, cancel_futures=True)


def _render(
    order: Order, source: bytes | None, tiny: bool, black: bool
) -> tuple[Order, list[bytes]]:
    if source is not None:
        order = fit_to_source(order, *media.picture_size(source))
    seed = order.seed or 0
    if order.kind == "video":
        if tiny:
            return order, [media.tiny_video(order.width, order.height, order.seconds)]
        return order, [
            media.video(source=source, prompt=order.prompt, width=order.width, height=order.height,
                        seconds=order.seconds, seed=seed)
        ]  # fmt: skip
    if tiny and not black:
        return order, [
            media.tiny_picture(order.width, order.height, order.image_format)
        ] * order.count
    return order, [
        media.picture(prompt=order.prompt, width=order.width, height=order.height, seed=seed + number,
                      image_format=order.image_format, black=black)
        for number in range(order.count)
    ]  # fmt: skip


def _data_uri(url: str) -> bytes:
    head, comma, data = url.partition(",")
    try:
        content = (
            base64.b64decode(data, validate=True)
            if head.endswith(";base64")
            else unquote_to_bytes(data)
        )
    except binascii.Error as error:
        raise SourceError(_unreadable(None, "Invalid data URI")) from error
    if not comma:
        raise SourceError(_unreadable(None, "Invalid data URI"))
    if len(content) > SOURCE_BYTES:
        raise SourceError(_too_large(None))
    return content


def _unreachable(url: str) -> Json:
    return {
        "status": 422,
        "type": "file_download_error",
        "message": "Failed to download the file",
        "url": url,
    }


def _unreadable(url: str | None, message: str) -> Json:
    return {"status": 422, "type": "image_load_error", "message": message, "url": url}


def _too_large(url: str | None) -> Json:
    return {
        "status": 422,
        "type": "file_too_large",
        "message": "File size exceeds 20 MB",
        "url": url,
    }
