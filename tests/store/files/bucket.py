"""A bucket for the tests of object storage, and direct access to its content."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx

from core.domain.media.content import MediaKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from types_aiobotocore_s3 import S3Client

    from core.store.files.object_storage import ObjectStore, StoredObject

BUCKET = "takeone-objects"
MIB = 1024 * 1024


async def chunks_of(content: bytes, chunk_bytes: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), chunk_bytes):
        yield content[start : start + chunk_bytes]


async def put(
    store: ObjectStore,
    key: str,
    chunks: AsyncIterator[bytes],
    *,
    expected: MediaKind = MediaKind.VIDEO,
    max_bytes: int = 100 * MIB,
    on_progress: Callable[[int], None] = lambda _: None,
) -> StoredObject:
    return await store.put_stream(
        key, chunks, expected=expected, max_bytes=max_bytes, on_progress=on_progress
    )


async def download(store: ObjectStore, key: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(await store.address(key), headers=headers)


async def list_uploads(s3: S3Client, key: str) -> list[str]:
    listed = await s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key)
    return [upload.get("UploadId", "") for upload in listed.get("Uploads", [])]


async def assert_nothing_stored(store: ObjectStore, s3: S3Client, key: str) -> None:
    assert await store.head(key) is None
    assert await list_uploads(s3, key) == []


async def wait_for_uploads(s3: S3Client, key: str, count: int) -> None:
    async with asyncio.timeout(5):
        while len(await list_uploads(s3, key)) != count:  # noqa: ASYNC110 - the server has no notification
            await asyncio.sleep(0.02)
