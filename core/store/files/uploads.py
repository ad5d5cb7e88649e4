"""Uploads to object storage: a stream is checked while it is read, and sent in equal parts."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
)

from core.domain.media.content import (
    SNIFF_BYTES,
    MediaKind,
    StorageRefusedError,
    StorageUnavailableError,
    TooLargeError,
    TruncatedError,
    disposition_of,
    require_kind,
)
from core.platform.observability.logging import get_logger

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

log = get_logger(__name__)

PART_BYTES = 8 * 1024 * 1024
MAX_PARTS = 10_000  # the limit of S3 and R2
CACHE_CONTROL = "public, max-age=31536000, immutable"  # the content of a key never changes
ABORT_SECONDS = 10.0


class CheckedParts:
    """Cuts a stream into upload parts; measures, hashes and identifies the file on the way."""

    def __init__(
        self, expected: MediaKind, max_bytes: int, on_progress: Callable[[int], None]
    ) -> None:
        self._expected = expected
        self._max_bytes = max_bytes
        self._on_progress = on_progress
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.content_type = ""  # known with the first part

    @property
    def sha256(self) -> str:
        """Return the hexadecimal digest of the bytes read so far."""
        return self._digest.hexdigest()

    def report_progress(self) -> None:
        """Report the bytes read so far."""
        self._on_progress(self.size_bytes)

    async def read(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[io.BytesIO]:
        """Yield parts of exactly PART_BYTES; only the last one may be shorter.

        Raises TruncatedError for an empty stream, TooLargeError, WrongContentError.
        """
        part = io.BytesIO()
        async for chunk in chunks:
            self._measure(chunk)
            rest = memoryview(chunk)
            while rest:
                free_bytes = PART_BYTES - part.tell()
                part.write(rest[:free_bytes])
                rest = rest[free_bytes:]
                self._identify(part, ended=False)
                if part.tell() == PART_BYTES:
                    yield _rewound(part)
                    part = io.BytesIO()
            self.report_progress()
        if not self.size_bytes:
            raise TruncatedError("the file is empty")
        self._identify(part, ended=True)
        if part.tell():
            yield _rewound(part)

    def _measure(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise TooLargeError(f"the file has more than {self._max_bytes} bytes")
        self._digest.update(chunk)

    def _identify(self, first_part: io.BytesIO, *, ended: bool) -> None:
        if not self.content_type and (ended or first_part.tell() >= SNIFF_BYTES):
            self.content_type = require_kind(
                bytes(first_part.getbuffer()[:SNIFF_BYTES]), self._expected
            )


def _rewound(part: io.BytesIO) -> io.BytesIO:
    part.seek(0)
    return part


@dataclass(frozen=True, slots=True)
class Target:
    """An object key to write. A key is derived from its job, so a repeat writes the same file."""

    client: S3Client
    bucket: str
    key: str

    async def put_whole(self, content: io.BytesIO, *, content_type: str, sha256: str) -> None:
        """Store a file that is smaller than one part."""
        with storage_errors(self.bucket):
            await self.client.put_object(
                Bucket=self.bucket,
                Key=self.key,
                Body=content,
                ContentType=content_type,
                ContentDisposition=disposition_of(content_type),
                CacheControl=CACHE_CONTROL,
                Metadata={"sha256": sha256},
            )

    async def put_parts(
        self,
        first: io.BytesIO,
        rest: AsyncIterator[io.BytesIO],
        *,
        content_type: str,
        on_part_stored: Callable[[], None],
    ) -> None:
        """Store a file part by part; one part is sent while the next one is read.

        The object appears only when it is complete. On any failure the upload is aborted; an
        upload whose process was killed is left to the bucket's lifecycle rule and the reconciler.
        """
        with storage_errors(self.bucket):
            created = await self.client.create_multipart_upload(
                Bucket=self.bucket,
                Key=self.key,
                ContentType=content_type,
                ContentDisposition=disposition_of(content_type),
                CacheControl=CACHE_CONTROL,
            )
        upload_id = created["UploadId"]
        try:
            sent = await self._send_all(upload_id, first, rest, on_part_stored)
            with storage_errors(self.bucket):
                await self.client.complete_multipart_upload(
                    Bucket=self.bucket,
                    Key=self.key,
                    UploadId=upload_id,
                    MultipartUpload={"Parts": sent},
                )
        except BaseException:
            await asyncio.shield(self._abort_after_failure(upload_id))
            raise

    async def _send_all(
        self,
        upload_id: str,
        first: io.BytesIO,
        rest: AsyncIterator[io.BytesIO],
        on_part_stored: Callable[[], None],
    ) -> list[CompletedPartTypeDef]:
        sent: list[CompletedPartTypeDef] = []
        sending = asyncio.create_task(self._send(upload_id, 1, first))
        try:
            async for part in rest:
                sent.append(await sending)
                on_part_stored()
                sending = asyncio.create_task(self._send(upload_id, len(sent) + 1, part))
            sent.append(await sending)
            on_part_stored()
        finally:
            # A part that arrives after the abort would stay in the bucket and be paid for.
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return sent

    async def _send(self, upload_id: str, number: int, part: io.BytesIO) -> CompletedPartTypeDef:
        with storage_errors(self.bucket):
            stored = await self.client.upload_part(
                Bucket=self.bucket, Key=self.key, UploadId=upload_id, PartNumber=number, Body=part
            )
        return {"PartNumber": number, "ETag": stored["ETag"]}

    async def _abort_after_failure(self, upload_id: str) -> None:
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await self.abort(upload_id)
        except (BotoCoreError, ClientError, TimeoutError) as error:
            log.warning("upload.abort_failed", reason=type(error).__name__)

    async def abort(self, upload_id: str) -> bool:
        """Abort an upload. Return False if it had already ended. Raises the S3 client's errors."""
        try:
            await self.client.abort_multipart_upload(
                Bucket=self.bucket, Key=self.key, UploadId=upload_id
            )
        except ClientError as error:
            if error_code(error) == "NoSuchUpload":
                return False
            raise
        return True


def http_status(error: ClientError) -> int:
    """Return the HTTP status of an S3 error, 0 if there was no response."""
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def error_code(error: ClientError) -> str:
    """Return the S3 error code, for example `NoSuchBucket`."""
    return error.response.get("Error", {}).get("Code", "")


@contextmanager
def storage_errors(bucket: str) -> Generator[None]:
    """Translate the S3 client's errors to storage errors that state what to do."""
    try:
        yield
    except ParamValidationError:
        raise  # a bug in this package, not a storage failure
    except (NoCredentialsError, CredentialRetrievalError) as error:
        raise StorageUnavailableError(
            "Object storage needs credentials, and this machine has no role that provides them. "
            "Give it one, or set S3_CREDENTIALS=keys with AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, and start again."
        ) from error
    except BotoCoreError as error:
        raise StorageUnavailableError(
            f"Object storage is unreachable ({type(error).__name__}). "
            "Check S3_ENDPOINT_URL and that the server is running."
        ) from error
    except ClientError as error:
        raise _refusal(error, bucket) from error


def _refusal(error: ClientError, bucket: str) -> StorageRefusedError | StorageUnavailableError:
    status, code = http_status(error), error_code(error)
    if status in {401, 403}:
        return StorageRefusedError(
            f"Object storage rejects the credentials for bucket {bucket!r} ({code}). "
            "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN (only for temporary "
            "keys), the permissions "
            "and this machine's clock."
        )
    if status == 404:
        return StorageRefusedError(
            f"Bucket {bucket!r} does not exist ({code}). Create it, or correct "
            "S3_BUCKET or S3_PRIVATE_BUCKET."
        )
    if status in {301, 307, 400}:
        return StorageRefusedError(
            f"Object storage rejects the request ({code}). Check S3_ENDPOINT_URL and AWS_REGION."
        )
    return StorageUnavailableError(f"Object storage returned {status} ({code}).")
