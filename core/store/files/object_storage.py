"""Object storage (S3, R2, or a server that speaks S3): files in, as streams, and addresses out.

Kept to what all of them do, tried on SeaweedFS: equal parts except the last (R2 insists), no
checksum headers beyond the signature, `If-None-Match: *` on PutObject and CompleteMultipartUpload,
no tags, no copies.

The sha256 of a file is known when its last byte is. A file below one part is sent whole, with
`x-amz-meta-sha256`; a multipart upload fixes its metadata at the start, so there the database row
keeps the sum, and `head`, which is asked only after a crash between storing and recording, reads
the file through.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import aioboto3
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError

from core.domain.media import MediaKind, StorageUnavailableError
from core.store.files.uploads import (
    MAX_PARTS,
    PART_BYTES,
    Intake,
    Upload,
    http_status,
    storage_errors,
)

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from core.platform.settings.processes import StorageSettings

READ_BYTES = 256 * 1024
MAX_ADDRESS_SECONDS = 7 * 24 * 3600  # the longest that signature version 4 allows


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """A whole file in the bucket. sha256: hexadecimal, of the content."""

    key: str
    size_bytes: int
    sha256: str
    content_type: str


class ObjectStore:
    """One bucket. Where the storage fails, a method raises StorageUnavailableError or
    StorageRefusedError.
    """

    def __init__(self, client: S3Client, *, bucket: str, cdn_base_url: str | None) -> None:
        self._client = client
        self._bucket = bucket
        self._cdn_base_url = cdn_base_url.rstrip("/") if cdn_base_url else None

    @classmethod
    def of(cls, settings: StorageSettings) -> AbstractAsyncContextManager[ObjectStore]:
        """`open`, as the settings say."""
        return cls.open(
            endpoint_url=settings.s3_endpoint_url,
            bucket=settings.s3_bucket,
            access_key_id=settings.aws_access_key_id,
            secret_access_key=settings.aws_secret_access_key.get_secret_value(),
            region=settings.aws_region,
            cdn_base_url=settings.cdn_base_url,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        endpoint_url: str | None,
        bucket: str,
        access_key_id: str,
        secret_access_key: str,
        region: str,
        cdn_base_url: str | None,
    ) -> AsyncGenerator[ObjectStore]:
        """endpoint_url: None for AWS. cdn_base_url: where the bucket is public, None if it is
        private.
        """
        async with aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            region_name=region,
            config=_client_config(own_endpoint=endpoint_url is not None),
        ) as client:
            yield cls(client, bucket=bucket, cdn_base_url=cdn_base_url)

    async def check(self) -> None:
        """That the bucket can be reached with these keys; the error says which setting to
        look at.
        """
        with storage_errors(self._bucket):
            await self._client.head_bucket(Bucket=self._bucket)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        expected: MediaKind,
        max_bytes: int,
        on_progress: Callable[[int], None],
    ) -> StoredObject:
        """Store a stream under a key that is used for this one file; memory stays at two parts,
        whatever the size.

        on_progress: called with the bytes taken so far, whenever a chunk came in or a part went
        out. Nothing is visible before it is whole; failure and cancellation abort the upload.
        Repeating is safe: what is stored first stays, and whoever comes later is told what that is.
        Raises WrongContentError, TooLargeError, TruncatedError (nothing came), and what `chunks`
        raises.
        """
        if max_bytes > MAX_PARTS * PART_BYTES:
            raise ValueError(
                f"max_bytes above {MAX_PARTS * PART_BYTES}, the most that fits in {MAX_PARTS} parts"
            )
        intake = Intake(expected, max_bytes, on_progress)
        upload = Upload(self._client, self._bucket, key)
        async with aclosing(intake.parts(chunks)) as parts:
            first = await anext(parts)
            kind = intake.content_type
            if first.getbuffer().nbytes < PART_BYTES:
                stored = await upload.put_whole(first, content_type=kind, sha256=intake.sha256)
            else:
                stored = await upload.put_parts(first, parts, content_type=kind, beat=intake.beat)
        if stored:
            return StoredObject(
                key=key,
                size_bytes=intake.size_bytes,
                sha256=intake.sha256,
                content_type=intake.content_type,
            )
        existing = await self.head(key, on_progress=lambda _: intake.beat())
        if existing is None:
            raise StorageUnavailableError(
                "the key was taken, and is now gone: somebody deleted it meanwhile"
            )
        return existing

    async def head(
        self, key: str, *, on_progress: Callable[[int], None] | None = None
    ) -> StoredObject | None:
        """What is stored under the key, None if nothing is. Reads files above one part through, for
        their sha256.

        on_progress: called with the bytes read so far.
        """
        with storage_errors(self._bucket):
            try:
                found = await self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if http_status(error) == 404:
                    return None
                raise
            sha256 = found["Metadata"].get("sha256") or await self._read_sha256(key, on_progress)
        return StoredObject(
            key=key,
            size_bytes=found["ContentLength"],
            sha256=sha256,
            content_type=found["ContentType"],
        )

    async def address(self, key: str, *, expires_seconds: int = 3600) -> str:
        """Where the file can be read: for good on the CDN, else signed for 1 … 604800 seconds."""
        if self._cdn_base_url:
            return f"{self._cdn_base_url}/{quote(key)}"
        if not 1 <= expires_seconds <= MAX_ADDRESS_SECONDS:
            raise ValueError(f"expires_seconds must be 1 to {MAX_ADDRESS_SECONDS}")
        return await self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=expires_seconds
        )

    async def delete(self, key: str) -> None:
        """Repeating is safe, also for a key that never was."""
        with storage_errors(self._bucket):
            await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def read_small(self, key: str) -> bytes | None:
        """The whole content of a small object, None if there is none."""
        with storage_errors(self._bucket):
            try:
                answer = await self._client.get_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if (
                    http_status(error) == 404
                    and error.response.get("Error", {}).get("Code") != "NoSuchBucket"
                ):
                    return None
                raise
            async with answer["Body"] as body:
                return await body.read()

    async def write_small(self, key: str, content: bytes, *, content_type: str) -> None:
        """Store or replace a small object that changes: no cache keeps it."""
        with storage_errors(self._bucket):
            await self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=content,
                ContentType=content_type,
                CacheControl="no-store",
            )

    async def abort_stale_uploads(self, *, older_than_seconds: int) -> int:
        """Abort the uploads that died with their process; how many. The bucket is taken to be all
        ours.

        older_than_seconds: more than the longest upload may last, else a living one is aborted.
        """
        before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        aborted = 0
        with storage_errors(self._bucket):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket
            )
            async for page in pages:
                for upload in page.get("Uploads", []):
                    key, upload_id, started_at = (
                        upload.get("Key"),
                        upload.get("UploadId"),
                        upload.get("Initiated"),
                    )
                    if key and upload_id and started_at and started_at < before:
                        aborted += await Upload(self._client, self._bucket, key).abort(upload_id)
        return aborted

    async def _read_sha256(self, key: str, on_progress: Callable[[int], None] | None) -> str:
        digest, read_bytes = hashlib.sha256(), 0
        answer = await self._client.get_object(Bucket=self._bucket, Key=key)
        body = answer["Body"]
        async with body:  # gives the bare response, not the body that knows iter_chunks
            async for chunk in body.iter_chunks(READ_BYTES):
                digest.update(chunk)
                read_bytes += len(chunk)
                if on_progress:
                    on_progress(read_bytes)
        return digest.hexdigest()


def _client_config(*, own_endpoint: bool) -> AioConfig:
    return AioConfig(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=60,
        retries={"total_max_attempts": 4, "mode": "standard"},
        # A server with an address of its own rarely has a DNS name per bucket.
        s3={"addressing_style": "path" if own_endpoint else "virtual"},
        # The newer default adds CRC trailers, which not every server takes.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Only our settings count, not an AWS_ENDPOINT_URL that happens to be set.
        ignore_configured_endpoint_urls=True,
    )
