"""Object storage (S3, R2, or a server that speaks S3): streams in, addresses out.

Only features that all of these support, tried on SeaweedFS: equal parts except the last (required
by R2), no checksum headers beyond the signature, no tags, no copies. Small objects are written
under a condition (`If-Match`, `If-None-Match: *`), which AWS S3, R2, MinIO and SeaweedFS honour.

The sha256 of a file is known with its last byte. A file below one part is stored with
`x-amz-meta-sha256`. A multipart upload fixes its metadata at the start, so its digest is kept in
the asset's row; `head` reads such a file through. It is called only after a crash between storing
and recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import ClientError

from core.domain.media.content import MediaKind
from core.platform.observability.logging import get_logger
from core.store.files.s3_session import client_config, s3_session
from core.store.files.uploads import (
    MAX_PARTS,
    PART_BYTES,
    CheckedParts,
    Target,
    error_code,
    http_status,
    storage_errors,
)

log = get_logger(__name__)

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import LifecycleRuleOutputTypeDef

    from core.platform.settings.stores import StorageSettings

READ_BYTES = 256 * 1024
UPLOADS = "uploads/"  # the keys of files that the public may not read
ABANDONED_UPLOADS_RULE = "takeone-abandoned-uploads"
MAX_ADDRESS_SECONDS = 7 * 24 * 3600  # the limit of signature version 4


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """A complete file in the bucket. sha256: hexadecimal digest of the content."""

    key: str
    size_bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallObject:
    """A small object. version: changes with each write of it."""

    content: bytes
    version: str


class ObjectChangedError(Exception):
    """Another process has written or deleted the object since it was read."""


class ObjectStore:
    """One bucket. Every method raises StorageUnavailableError or StorageRefusedError on failure."""

    def __init__(
        self,
        client: S3Client,
        *,
        bucket: str,
        cdn_base_url: str | None,
        signer: S3Client | None = None,
        private_bucket: str | None = None,
    ) -> None:
        self._client = client
        self._signer = signer or client
        self._bucket = bucket
        self._private_bucket = private_bucket or bucket
        self._cdn_base_url = cdn_base_url.rstrip("/") if cdn_base_url else None

    @classmethod
    def of(cls, settings: StorageSettings) -> AbstractAsyncContextManager[ObjectStore]:
        """Open the bucket that the settings name."""
        keys, secret, token = (
            settings.s3_credentials == "keys",
            settings.aws_secret_access_key,
            settings.aws_session_token,
        )
        return cls.open(
            endpoint_url=settings.s3_endpoint_url,
            public_endpoint_url=settings.s3_public_endpoint_url,
            bucket=settings.s3_bucket,
            private_bucket=settings.s3_private_bucket,
            access_key_id=settings.aws_access_key_id if keys else None,
            secret_access_key=secret.get_secret_value() if keys and secret else None,
            session_token=token.get_secret_value() if keys and token else None,
            region=settings.aws_region,
            ca_bundle=str(settings.aws_ca_bundle) if settings.aws_ca_bundle else None,
            cdn_base_url=settings.cdn_base_url,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        endpoint_url: str | None,
        bucket: str,
        access_key_id: str | None,
        secret_access_key: str | None,
        region: str,
        cdn_base_url: str | None,
        session_token: str | None = None,
        ca_bundle: str | None = None,
        public_endpoint_url: str | None = None,
        private_bucket: str | None = None,
    ) -> AsyncGenerator[ObjectStore]:
        """Open a bucket.

        endpoint_url: None for AWS. access_key_id: None for the machine's role. cdn_base_url: None
        for a private bucket. public_endpoint_url: of signed links, if it differs.
        private_bucket: of small objects, if the other one is public as a whole.
        """
        session = s3_session(
            ca_bundle=ca_bundle, role_region=region if access_key_id is None else None
        )

        def client(url: str | None) -> AbstractAsyncContextManager[S3Client]:
            return session.client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
                "s3",
                endpoint_url=url,
                aws_access_key_id=access_key_id,
                aws_secret_access_key=secret_access_key,
                aws_session_token=session_token,
                region_name=region,
                config=client_config(own_endpoint=url is not None),
            )

        async with AsyncExitStack() as stack:
            signer = None
            if public_endpoint_url is not None:
                signer = await stack.enter_async_context(client(public_endpoint_url))
            opened = await stack.enter_async_context(client(endpoint_url))
            yield cls(
                opened,
                bucket=bucket,
                cdn_base_url=cdn_base_url,
                signer=signer,
                private_bucket=private_bucket,
            )

    async def check(self) -> None:
        """Check that the buckets are reachable; the error names the setting to check."""
        for bucket in dict.fromkeys((self._bucket, self._private_bucket)):
            with storage_errors(bucket):
                await self._client.head_bucket(Bucket=bucket)

    async def put_stream(
        self,
        key: str,
        chunks: AsyncIterator[bytes],
        *,
        expected: MediaKind,
        max_bytes: int,
        on_progress: Callable[[int], None],
    ) -> StoredObject:
        """Store a stream under a key that belongs to this one file; memory stays at two parts.

        on_progress: receives the bytes read so far, after each chunk and each stored part.
        Nothing is visible before the file is complete; failure and cancellation abort the upload.
        Repeating is safe: the key is derived from the job, so a repeat writes the same file.
        Raises WrongContentError, TooLargeError, TruncatedError (empty), and what `chunks` raises.
        """
        if max_bytes > MAX_PARTS * PART_BYTES:
            raise ValueError(
                f"max_bytes above {MAX_PARTS * PART_BYTES}, the most that fits in {MAX_PARTS} parts"
            )
        parts = CheckedParts(expected, max_bytes, on_progress)
        target = Target(self._client, self._bucket, key)
        async with aclosing(parts.read(chunks)) as reading:
            first = await anext(reading)
            kind = parts.content_type
            if first.getbuffer().nbytes < PART_BYTES:
                await target.put_whole(first, content_type=kind, sha256=parts.sha256)
            else:
                await target.put_parts(
                    first, reading, content_type=kind, on_part_stored=parts.report_progress
                )
        return StoredObject(
            key=key, size_bytes=parts.size_bytes, sha256=parts.sha256, content_type=kind
        )

    async def head(self, key: str) -> StoredObject | None:
        """Return the object under the key, or None. Reads a file above one part for its sha256."""
        with storage_errors(self._bucket):
            try:
                metadata = await self._client.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if http_status(error) == 404:
                    return None
                raise
            sha256 = metadata["Metadata"].get("sha256")
        if sha256 is None:
            digest = hashlib.sha256()
            async for chunk in self.read(key):
                digest.update(chunk)
            sha256 = digest.hexdigest()
        return StoredObject(
            key=key,
            size_bytes=metadata["ContentLength"],
            sha256=sha256,
            content_type=metadata["ContentType"],
        )

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncGenerator[bytes]:
        """Yield the bytes from `start` to before `end`, which must be in the object."""
        if end is not None and end <= start:
            return
        with storage_errors(self._bucket):
            answer = await self._client.get_object(
                Bucket=self._bucket,
                Key=key,
                Range=f"bytes={start}-{'' if end is None else end - 1}",
            )
            body = answer["Body"]
            async with body:  # yields the raw response; iter_chunks belongs to the body
                async for chunk in body.iter_chunks(READ_BYTES):
                    yield chunk

    async def address(
        self, key: str, *, expires_seconds: int = 3600, disposition: str | None = None
    ) -> str:
        """Return a URL of the file: permanent on the CDN, else signed for 1 to 604800 seconds.

        disposition: the Content-Disposition of the response, in ASCII. A CDN cannot be made to send
        it, so such a URL is always signed, as that of an upload.
        """
        public = disposition is None and not key.startswith(UPLOADS)
        if self._cdn_base_url and public:
            return f"{self._cdn_base_url}/{quote(key)}"
        if not 1 <= expires_seconds <= MAX_ADDRESS_SECONDS:
            raise ValueError(f"expires_seconds must be 1 to {MAX_ADDRESS_SECONDS}")
        params = {"Bucket": self._bucket, "Key": key}
        if disposition is not None:
            params["ResponseContentDisposition"] = disposition
        return await self._signer.generate_presigned_url(
            "get_object", Params=params, ExpiresIn=expires_seconds
        )

    async def delete(self, key: str) -> None:
        """Delete an object. Repeating is safe, also for a key that does not exist."""
        with storage_errors(self._bucket):
            await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def read_small(self, key: str) -> SmallObject | None:
        """Return a small object of the private bucket, or None.

        An object that an earlier setting stored in the other bucket has the version "".
        """
        stored = await self._get_small(self._private_bucket, key)
        if stored is None and self._private_bucket != self._bucket:
            earlier = await self._get_small(self._bucket, key)
            return earlier and replace(earlier, version="")
        return stored

    async def _get_small(self, bucket: str, key: str) -> SmallObject | None:
        with storage_errors(bucket):
            try:
                answer = await self._client.get_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if http_status(error) == 404 and error_code(error) != "NoSuchBucket":
                    return None
                raise
            async with answer["Body"] as body:
                return SmallObject(content=await body.read(), version=answer["ETag"])

    async def write_small(
        self, key: str, content: bytes, *, content_type: str, replaces: str | None
    ) -> str:
        """Store a small object that changes, and return its version; caches must not keep it.

        replaces: the version that was read; None: there was no object. Raises ObjectChangedError if
        that is no longer so, and perhaps after a write whose answer was lost: read it again.
        """
        put = partial(
            self._client.put_object,
            Bucket=self._private_bucket,
            Key=key,
            Body=content,
            ContentType=content_type,
            CacheControl="no-store",
        )
        with storage_errors(self._private_bucket):
            try:
                answer = await (put(IfMatch=replaces) if replaces else put(IfNoneMatch="*"))
            except ClientError as error:
                # 404: S3, if the object that was read has been deleted.
                if http_status(error) in (409, 412) or error_code(error) == "NoSuchKey":
                    raise ObjectChangedError(key) from None
                raise
        if replaces == "" and self._private_bucket != self._bucket:
            await self.delete(key)
        return answer["ETag"]

    async def delete_small(self, key: str) -> None:
        """Delete a small object of the private bucket. Repeating is safe."""
        with storage_errors(self._private_bucket):
            await self._client.delete_object(Bucket=self._private_bucket, Key=key)

    async def unsigned_address(self, key: str, *, private: bool = False) -> str:
        """Return the URL of an object at the server, without a signature.

        private: of a small object. Only what the bucket's policy makes public can be read there.
        """
        bucket = self._private_bucket if private else self._bucket
        signed = await self._signer.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=1
        )
        return signed.partition("?")[0]

    async def abort_stale_uploads(self, *, older_than_seconds: int) -> int:
        """Abort uploads whose process was killed; return their number.

        The bucket must belong to this installation alone. older_than_seconds: longer than any
        upload may take, else a running upload is aborted.
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
                        aborted += await Target(self._client, self._bucket, key).abort(upload_id)
        return aborted

    async def add_abandoned_upload_rule(self) -> bool:
        """Add a lifecycle rule that aborts abandoned uploads after a day; keep existing rules.

        Repeating is safe. Return False where the storage has no such rules or these keys may not
        set them: `abort_stale_uploads` remains the backstop.
        """
        try:
            rules = await self._lifecycle_rules()
            if any(rule.get("ID") == ABANDONED_UPLOADS_RULE for rule in rules):
                return True
            await self._client.put_bucket_lifecycle_configuration(
                Bucket=self._bucket,
                LifecycleConfiguration={
                    "Rules": [
                        *rules,
                        {
                            "ID": ABANDONED_UPLOADS_RULE,
                            "Status": "Enabled",
                            "Filter": {"Prefix": ""},
                            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
                        },
                    ]
                },
            )
        except ClientError as error:
            log.info("storage.lifecycle_rule_refused", code=error_code(error))
            return False
        return True

    async def _lifecycle_rules(self) -> list[LifecycleRuleOutputTypeDef]:
        try:
            configuration = await self._client.get_bucket_lifecycle_configuration(
                Bucket=self._bucket
            )
        except ClientError as error:
            if error_code(error) == "NoSuchLifecycleConfiguration":
                return []
            raise
        return configuration["Rules"]
