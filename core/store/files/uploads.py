"""One file on its way into object storage: counted, summed and recognised as it comes, sent in
equal parts.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from core.domain.media import (
    SNIFF_BYTES,
    MediaKind,
    StorageRefusedError,
    StorageUnavailableError,
    TooLargeError,
    TruncatedError,
    require_kind,
)

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import CompletedPartTypeDef

logger = logging.getLogger(__name__)

PART_BYTES = 8 * 1024 * 1024
MAX_PARTS = 10_000  # S3 and R2
CACHE_CONTROL = "public, max-age=31536000, immutable"  # a key never gets other content
CLEAN_UP_SECONDS = 10.0


class Intake:
    """Takes a file's chunks and gives them on in parts; knows what the file is, how long, and its
    sum.
    """

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
        return self._digest.hexdigest()

    def beat(self) -> None:
        self._on_progress(self.size_bytes)

    async def parts(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[io.BytesIO]:
        """Parts of exactly PART_BYTES, the last one shorter; at least one, else TruncatedError."""
        part = io.BytesIO()
        async for chunk in chunks:
            self._count(chunk)
            rest = memoryview(chunk)
            while rest:
                room = PART_BYTES - part.tell()
                part.write(rest[:room])
                rest = rest[room:]
                self._recognise(part, ended=False)
                if part.tell() == PART_BYTES:
                    yield _rewound(part)
                    part = io.BytesIO()
            self.beat()
        if not self.size_bytes:
            raise TruncatedError("the file is empty")
        self._recognise(part, ended=True)
        if part.tell():
            yield _rewound(part)

    def _count(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise TooLargeError(f"the file has more than {self._max_bytes} bytes")
        self._digest.update(chunk)

    def _recognise(self, first_part: io.BytesIO, *, ended: bool) -> None:
        if not self.content_type and (ended or first_part.tell() >= SNIFF_BYTES):
            self.content_type = require_kind(
                bytes(first_part.getbuffer()[:SNIFF_BYTES]), self._expected
            )


def _rewound(part: io.BytesIO) -> io.BytesIO:
    part.seek(0)
    return part


class Upload:
    """One file into one new key. Nothing is visible there before it is whole.

    `put_whole` and `put_parts` return False if the key was taken: then nothing was changed.
    """

    def __init__(self, client: S3Client, bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = key
        self._sending: asyncio.Task[CompletedPartTypeDef] | None = None

    async def put_whole(self, content: io.BytesIO, *, content_type: str, sha256: str) -> bool:
        with storage_errors(self._bucket), _taken_is_false() as answer:
            await self._client.put_object(
                Bucket=self._bucket,
                Key=self._key,
                Body=content,
                ContentType=content_type,
                ContentDisposition="inline",
                CacheControl=CACHE_CONTROL,
                Metadata={"sha256": sha256},
                IfNoneMatch="*",
            )
        return answer.stored

    async def put_parts(
        self,
        first: io.BytesIO,
        rest: AsyncIterator[io.BytesIO],
        *,
        content_type: str,
        beat: Callable[[], None],
    ) -> bool:
        """beat: called when a part is stored. At most one part is on its way while the next one
        fills.
        """
        # Creating and completing are shielded: left half-way, nobody would know whether they
        # happened.
        creating = asyncio.create_task(self._create(content_type))
        completing: asyncio.Task[bool] | None = None
        stored = False
        try:
            upload_id = await asyncio.shield(creating)
            sent = await self._send_all(upload_id, first, rest, beat)
            completing = asyncio.create_task(self._complete(upload_id, sent))
            stored = await asyncio.shield(completing)
        finally:
            if not stored:
                await _finish(self._abandon(creating, completing))
        return stored

    async def _send_all(
        self,
        upload_id: str,
        first: io.BytesIO,
        rest: AsyncIterator[io.BytesIO],
        beat: Callable[[], None],
    ) -> list[CompletedPartTypeDef]:
        sent: list[CompletedPartTypeDef] = []
        self._sending = asyncio.create_task(self._send(upload_id, 1, first))
        async for part in rest:
            sent.append(await self._sending)
            beat()
            self._sending = asyncio.create_task(self._send(upload_id, len(sent) + 1, part))
        sent.append(await self._sending)
        beat()
        return sent

    async def _create(self, content_type: str) -> str:
        with storage_errors(self._bucket):
            created = await self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                ContentType=content_type,
                ContentDisposition="inline",
                CacheControl=CACHE_CONTROL,
            )
        return created["UploadId"]

    async def _send(self, upload_id: str, number: int, part: io.BytesIO) -> CompletedPartTypeDef:
        with storage_errors(self._bucket):
            answer = await self._client.upload_part(
                Bucket=self._bucket, Key=self._key, UploadId=upload_id, PartNumber=number, Body=part
            )
        return {"PartNumber": number, "ETag": answer["ETag"]}

    async def _complete(self, upload_id: str, sent: list[CompletedPartTypeDef]) -> bool:
        with storage_errors(self._bucket), _taken_is_false() as answer:
            await self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=upload_id,
                MultipartUpload={"Parts": sent},
                IfNoneMatch="*",
            )
        return answer.stored

    async def _abandon(
        self, creating: asyncio.Task[str], completing: asyncio.Task[bool] | None
    ) -> None:
        """Leave no upload behind. What cannot be aborted now, `abort_stale_uploads` finds later."""
        if self._sending:
            self._sending.cancel()  # a part that arrives after the abort would stay and be paid for
            await asyncio.gather(self._sending, return_exceptions=True)
        if completing and True in await asyncio.gather(completing, return_exceptions=True):
            return
        await asyncio.gather(creating, return_exceptions=True)
        if creating.cancelled() or creating.exception():
            return
        try:
            await self.abort(creating.result())
        except (BotoCoreError, ClientError) as error:
            logger.warning("object_upload_not_aborted", extra={"error": type(error).__name__})

    async def abort(self, upload_id: str) -> bool:
        """False if the upload was over already. Raises the S3 client's errors."""
        try:
            await self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=self._key, UploadId=upload_id
            )
        except ClientError as error:
            if not _is_no_such_upload(error):
                raise
            return False
        return True


_finishing: set[asyncio.Task[None]] = set()
"""Clean-ups whose caller was cancelled twice or stopped waiting; the loop itself keeps only weak
references.
"""


async def _finish(clean_up: Coroutine[Any, Any, None]) -> None:
    """Run to the end even if cancelled; wait for it at most CLEAN_UP_SECONDS."""
    task = asyncio.create_task(clean_up)
    _finishing.add(task)
    task.add_done_callback(_finishing.discard)
    await asyncio.wait({task}, timeout=CLEAN_UP_SECONDS)


class _Answer:
    stored = True


@contextmanager
def _taken_is_false() -> Generator[_Answer]:
    """A repeated call whose first answer was lost finds its own key taken, or its upload gone: also
    not an error.
    """
    answer = _Answer()
    try:
        yield answer
    except ClientError as error:
        if http_status(error) != 412 and not _is_no_such_upload(error):
            raise
        answer.stored = False


def _is_no_such_upload(error: BotoCoreError | ClientError) -> bool:
    return (
        isinstance(error, ClientError)
        and error.response.get("Error", {}).get("Code") == "NoSuchUpload"
    )


def http_status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


@contextmanager
def storage_errors(bucket: str) -> Generator[None]:
    """The S3 client's errors as ours, with what to do about them."""
    try:
        yield
    except ParamValidationError:
        raise  # our own mistake
    except BotoCoreError as error:
        raise StorageUnavailableError(
            f"object storage cannot be reached ({type(error).__name__}): is S3_ENDPOINT_URL right and the server up?"
        ) from error
    except ClientError as error:
        raise _refusal(error, bucket) from error


def _refusal(error: ClientError, bucket: str) -> StorageRefusedError | StorageUnavailableError:
    status, code = http_status(error), error.response.get("Error", {}).get("Code", "")
    if status in {401, 403}:
        return StorageRefusedError(
            f"object storage refuses our keys for bucket {bucket!r} ({code}): look at AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, the key's rights, and this machine's clock"
        )
    if status == 404:
        return StorageRefusedError(
            f"bucket {bucket!r} does not exist ({code}): create it, or set S3_BUCKET"
        )
    if status in {301, 307, 400}:
        return StorageRefusedError(
            f"object storage does not accept the call ({code}): look at S3_ENDPOINT_URL and AWS_REGION"
        )
    return StorageUnavailableError(f"object storage answered {status} ({code})")
