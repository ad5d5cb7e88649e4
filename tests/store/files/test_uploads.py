"""Uploads: a complete and checked object, or no object."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import httpx
import pytest

from core.domain.media.content import (
    MediaKind,
    StorageRefusedError,
    TooLargeError,
    TruncatedError,
    WrongContentError,
)
from core.store.files.downloads import open_source
from core.store.files.object_storage import ObjectStore, StoredObject
from core.store.files.uploads import PART_BYTES
from tests.store.files.bucket import (
    BUCKET,
    assert_nothing_stored,
    chunks_of,
    download,
    list_uploads,
    put,
    wait_for_uploads,
)
from tests.store.files.file_server import BLOCK, MP4_HEAD, file_server, mp4_bytes

pytestmark = pytest.mark.guarantee("G2", "G7")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from types_aiobotocore_s3 import S3Client

MIB = 1024 * 1024
GIB = 1024 * MIB
logger = logging.getLogger(__name__)


@pytest.mark.parametrize(
    "size",
    [len(MP4_HEAD), 1000, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 20 * MIB + 7],
)
async def test_put_stream_keeps_every_byte(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    stored = await put(store, key, chunks_of(content, 777_777))
    assert stored == StoredObject(
        key=key,
        size_bytes=size,
        sha256=hashlib.sha256(content).hexdigest(),
        content_type="video/mp4",
    )
    assert (await download(store, key)).content == content
    assert await store.head(key) == stored
    assert await list_uploads(s3, key) == []


async def test_put_stream_takes_chunks_larger_than_a_part(store: ObjectStore, key: str) -> None:
    content = mp4_bytes(3 * PART_BYTES + 5)
    await put(store, key, chunks_of(content, len(content)))
    assert (await download(store, key)).content == content


async def test_put_stream_sends_equal_parts(store: ObjectStore, s3: S3Client, key: str) -> None:
    """R2 requires equal parts; the last part may be shorter."""
    await put(store, key, chunks_of(mp4_bytes(2 * PART_BYTES + 5)))
    sizes = [
        (await s3.head_object(Bucket=BUCKET, Key=key, PartNumber=n))["ContentLength"]
        for n in (1, 2, 3)
    ]
    assert sizes == [PART_BYTES, PART_BYTES, 5]


@pytest.mark.parametrize("size", [1000, PART_BYTES + 1000])
async def test_stored_object_answers_ranges_with_safe_headers(
    store: ObjectStore, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    await put(store, key, chunks_of(content))
    middle = await download(store, key, Range=f"bytes={size - 900}-{size - 801}")
    assert middle.status_code == 206
    assert middle.content == content[size - 900 : size - 800]
    assert middle.headers["content-range"] == f"bytes {size - 900}-{size - 801}/{size}"
    assert middle.headers["content-type"] == "video/mp4"
    assert middle.headers["content-disposition"] == "inline"
    assert middle.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await download(store, key, Range="bytes=-10")).content == content[-10:]
    assert (await download(store, key, Range=f"bytes={size}-")).status_code == 416


async def test_captions_are_stored_as_attachments(store: ObjectStore, key: str) -> None:
    """Browsers guess the type of text that they do not know."""
    content = b"1\n00:00:00,000 --> 00:00:01,000\n<script>alert(1)</script>\n"
    stored = await put(store, key, chunks_of(content), expected=MediaKind.TEXT)
    assert stored.content_type == "application/x-subrip"
    response = await download(store, key)
    assert response.headers["content-disposition"] == "attachment"
    assert response.headers["content-type"] == "application/x-subrip"


@pytest.mark.parametrize("size", [100, PART_BYTES + 100])
async def test_put_stream_reports_progress_that_never_falls(
    store: ObjectStore, key: str, size: int
) -> None:
    progress: list[int] = []
    await put(store, key, chunks_of(mp4_bytes(size), 1 * MIB), on_progress=progress.append)
    assert progress == sorted(progress)
    assert progress[-1] == size
    assert len(progress) >= -(-size // MIB)


async def test_put_stream_decides_the_type_by_the_bytes(store: ObjectStore, key: str) -> None:
    """The rule holds even if the first chunks are shorter than any file signature."""
    content = b"\x89PNG\r\n\x1a\n" + bytes(500)
    stored = await put(store, key, chunks_of(content, 1), expected=MediaKind.IMAGE)
    assert stored.content_type == "image/png"
    assert (await download(store, key)).headers["content-type"] == "image/png"


@pytest.mark.parametrize("size", [3, 200, PART_BYTES + 1])
async def test_put_stream_wrong_content_stores_nothing(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    taken = 0

    async def page() -> AsyncIterator[bytes]:
        nonlocal taken
        async for chunk in chunks_of((b"<!doctype html>" * (size // 15 + 1))[:size], 1000):
            taken += len(chunk)
            yield chunk

    with pytest.raises(WrongContentError, match="expected video"):
        await put(store, key, page())
    assert taken <= 1000  # detected in the first chunk, not after a whole part
    await assert_nothing_stored(store, s3, key)


async def test_put_stream_picture_for_a_video_is_wrong(
    store: ObjectStore, s3: S3Client, key: str
) -> None:
    with pytest.raises(WrongContentError, match="image/png"):
        await put(store, key, chunks_of(b"\x89PNG\r\n\x1a\n" + bytes(500)))
    await assert_nothing_stored(store, s3, key)


async def test_put_stream_of_nothing_is_truncated(
    store: ObjectStore, s3: S3Client, key: str
) -> None:
    with pytest.raises(TruncatedError, match="empty"):
        await put(store, key, chunks_of(b""))
    await assert_nothing_stored(store, s3, key)


@pytest.mark.parametrize("limit", [1000, PART_BYTES, 2 * PART_BYTES + 5])
async def test_put_stream_above_the_limit_stores_nothing(
    store: ObjectStore, s3: S3Client, key: str, limit: int
) -> None:
    with pytest.raises(TooLargeError):
        await put(store, key, chunks_of(mp4_bytes(limit + 1)), max_bytes=limit)
    await assert_nothing_stored(store, s3, key)
    assert (await put(store, key, chunks_of(mp4_bytes(limit)), max_bytes=limit)).size_bytes == limit


@pytest.mark.parametrize("size", [1000, 2 * PART_BYTES + 100])
async def test_put_stream_truncated_download_stores_nothing(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    async with file_server() as files, httpx.AsyncClient() as client:
        source = open_source(
            client, f"{files.url}/short/{size}", max_bytes=100 * MIB, total_seconds=10
        )
        with pytest.raises(TruncatedError):
            async with source as chunks:
                await put(store, key, chunks)
    await assert_nothing_stored(store, s3, key)


@pytest.mark.parametrize("at", [100, PART_BYTES, PART_BYTES + 100, 3 * PART_BYTES + 100])
async def test_put_stream_cancelled_leaves_nothing(
    store: ObjectStore, s3: S3Client, key: str, at: int
) -> None:
    """The upload is cancelled at different points while it waits for the source."""
    waiting = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(mp4_bytes(at)):
            yield chunk
        if at > PART_BYTES:
            await wait_for_uploads(s3, key, 1)
        waiting.set()
        await asyncio.sleep(60)

    storing = asyncio.create_task(put(store, key, stalls()))
    await waiting.wait()
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    await assert_nothing_stored(store, s3, key)


@pytest.mark.parametrize("moment", ["before-call", "after-call"])
@pytest.mark.parametrize("call", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
async def test_put_stream_cancelled_during_a_call_is_whole_or_nothing(
    s3: S3Client, key: str, moment: str, call: str
) -> None:
    """The cancellation arrives while the S3 client works on that call."""
    reached = asyncio.Event()

    async def hold(**_: object) -> None:
        reached.set()
        await asyncio.sleep(0.1)

    event, handler = (
        f"{moment}.s3.{call}",
        cast("Callable[..., None]", hold),
    )  # its types know no async handlers
    s3.meta.events.register(event, handler)
    try:
        store = ObjectStore(s3, bucket=BUCKET, cdn_base_url=None)
        storing = asyncio.create_task(put(store, key, chunks_of(mp4_bytes(2 * PART_BYTES + 100))))
        await reached.wait()
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
    finally:
        s3.meta.events.unregister(event, handler)
    if call == "CompleteMultipartUpload":  # the storage may have completed it, or not
        found = await store.head(key)
        assert found is None or found.size_bytes == 2 * PART_BYTES + 100
        assert await list_uploads(s3, key) == []
        return
    assert await store.head(key) is None
    # The id of an upload whose creation was cut off is lost: the hourly abort removes it.
    if call != "CreateMultipartUpload":
        assert await list_uploads(s3, key) == []


async def test_put_stream_cancelled_twice_still_cleans_up(
    store: ObjectStore, s3: S3Client, key: str
) -> None:
    waiting = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(mp4_bytes(PART_BYTES + 100)):
            yield chunk
        await wait_for_uploads(s3, key, 1)
        waiting.set()
        await asyncio.sleep(60)

    storing = asyncio.create_task(put(store, key, stalls()))
    await waiting.wait()
    storing.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    await wait_for_uploads(s3, key, 0)
    assert await store.head(key) is None


@pytest.mark.parametrize("size", [1000, PART_BYTES + 100])
async def test_put_stream_repeated_stores_the_same_file(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    first = await put(store, key, chunks_of(content))
    assert await put(store, key, chunks_of(content)) == first
    assert (await download(store, key)).content == content
    assert await list_uploads(s3, key) == []


@pytest.mark.parametrize("size", [1000, PART_BYTES + 100])
async def test_put_stream_racing_for_one_key_is_one_object(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    stored = await asyncio.gather(*[put(store, key, chunks_of(content)) for _ in range(5)])
    assert len(set(stored)) == 1
    assert (await download(store, key)).content == content
    assert await list_uploads(s3, key) == []


async def test_put_stream_storage_refusing_is_our_error(
    s3_settings: dict[str, str], key: str
) -> None:
    async with ObjectStore.open(
        **{**s3_settings, "secret_access_key": "wrong"}, cdn_base_url=None
    ) as wrong:
        for size in (1000, 2 * PART_BYTES):
            with pytest.raises(StorageRefusedError):
                await put(wrong, key, chunks_of(mp4_bytes(size)))


async def test_put_stream_limit_that_cannot_be_kept_is_refused(
    store: ObjectStore, key: str
) -> None:
    with pytest.raises(ValueError, match="10000 parts"):
        await put(store, key, chunks_of(MP4_HEAD), max_bytes=10_000 * PART_BYTES + 1)


@pytest.mark.parametrize("size_bytes", [GIB // 4, pytest.param(GIB, marks=pytest.mark.long)])
async def test_large_file_goes_through_in_bounded_memory(
    s3_settings: dict[str, str], store: ObjectStore, key: str, size_bytes: int
) -> None:
    """A process that stores the file needs less than 150 MiB more than the same process idle."""
    async with file_server() as files:
        probe = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.store.files.memory_probe",
            f"{files.url}/large/{size_bytes}", key, json.dumps(s3_settings),
            cwd=Path(__file__).parents[3],
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await probe.communicate()
    assert probe.returncode == 0
    report = json.loads(output)
    logger.info("memory probe: %s", report)
    expected = hashlib.sha256(MP4_HEAD)
    for _ in range(size_bytes // MIB - 1):
        expected.update(BLOCK)
    expected.update(BLOCK[: MIB - len(MP4_HEAD)])
    assert report["size_bytes"] == size_bytes
    assert report["sha256"] == expected.hexdigest()
    assert report["progress"] > size_bytes // PART_BYTES
    assert 2 * MIB < report["more_bytes"] < 150 * MIB, report
    tail = await download(store, key, Range="bytes=-1000")
    assert tail.status_code == 206, tail.text
    assert tail.content == BLOCK[: MIB - len(MP4_HEAD)][-1000:]
    await store.delete(key)
