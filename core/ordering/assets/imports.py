"""Import files of users as assets: checked, converted where models need it, and stored once."""

import secrets
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import IO, Final

import httpx

from core.domain.ids import UserId
from core.domain.media.containers.completeness import WholeFile
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import (
    EXTENSIONS,
    MADE_ONLY,
    SNIFF_BYTES,
    AnimatedError,
    IncompleteError,
    MediaError,
    MediaKind,
    SourceGoneError,
    SourceRefusedError,
    SourceUnavailableError,
    StorageRefusedError,
    StorageUnavailableError,
    TooLargeError,
    TooManyPixelsError,
    TruncatedError,
    content_type_of,
    kind_of,
)
from core.media.pictures import MAX_PIXELS, PictureConverter
from core.media.sounds import SoundExtractor
from core.ordering.assets.slots import ImportSlots
from core.ordering.errors import (
    AssetLimitError,
    MediaDamagedError,
    MediaRefusedError,
    MediaTooLargeError,
    MediaUnavailableError,
    MediaUnsupportedError,
    StorageDownError,
)
from core.platform.observability.logging import get_logger
from core.store.database import Connection, Database
from core.store.files.downloads import open_source
from core.store.files.heads import joined, read_head
from core.store.files.object_storage import UPLOADS, ObjectStore, StoredObject
from core.store.files.user_assets import (
    NewUpload,
    StoredAsset,
    find_sound,
    find_upload,
    get_upload_totals,
    insert_upload,
    lock_uploads,
    reserve_key,
)

log = get_logger(__name__)

IMAGE_MAX_BYTES: Final = 32 * 1024**2
"""A picture is kept on disk while it is decoded. Models accept fewer bytes."""
CONVERTED_MAX_BYTES: Final = 64 * 1024**2
READ_BYTES: Final = 256 * 1024
URL_SECONDS: Final = 15.0
"""The caller waits for the file, and a proxy in front of the API waits 25 s for the answer."""
ACCEPTED: Final = (
    "Accepted are JPEG, PNG and WebP pictures, MP4, WebM and QuickTime videos, and MP3, WAV, Ogg, "
    "FLAC and M4A sound."
)
ACCEPTED_PICTURES: Final = "Accepted are JPEG, PNG and WebP pictures."
ANIMATED: Final = "The picture is animated. Send a still picture, or a video."
DAMAGED: Final = "The file is cut off or damaged: it cannot be read to its end."
NO_PICTURE: Final = "The video has no picture. Send sound as MP3, WAV, Ogg, FLAC or M4A."
TOO_MANY_PIXELS: Final = (
    f"The picture has more than {MAX_PIXELS} pixels, or needs too much memory or time to decode."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetLimits:
    """max_bytes: of one file. files, bytes: of all uploads of a user."""

    max_bytes: int
    files: int
    bytes: int

    def max_bytes_of(self, kind: MediaKind) -> int:
        """Return the size limit of a file of this kind."""
        return min(self.max_bytes, IMAGE_MAX_BYTES) if kind is MediaKind.IMAGE else self.max_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedAsset:
    """created: False if the user had uploaded the same content before."""

    asset: StoredAsset
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A file in object storage that is not recorded yet."""

    object: StoredObject
    facts: MediaFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetImporter:
    """Imports files. downloads: a client that refuses private addresses."""

    database: Database
    objects: ObjectStore
    downloads: httpx.AsyncClient
    pictures: PictureConverter
    limits: AssetLimits
    sounds: SoundExtractor = field(default_factory=SoundExtractor)
    slots: ImportSlots = field(default_factory=ImportSlots)

    async def import_url(self, user_id: UserId, url: str, *, field: str) -> ImportedAsset:
        """Import the file at a URL. Repeating is safe: the same content is the same asset.

        url: http or https. field: of the order, for errors. Raises what `import_stream` raises.
        """
        limit = self.limits.max_bytes
        try:
            with self.slots.take(user_id), _media_errors(limit):
                async with open_source(
                    self.downloads, url, max_bytes=limit, total_seconds=URL_SECONDS
                ) as chunks:
                    return await self._import(user_id, chunks)
        except MediaRefusedError as error:
            raise type(error)(error.detail, field=field) from error

    async def import_stream(
        self, user_id: UserId, chunks: AsyncIterator[bytes], *, expected: MediaKind | None = None
    ) -> ImportedAsset:
        """Check, convert and store a file, and record it. Repeating is safe, as above.

        expected: another kind of file is refused. None: any kind is stored.

        Memory stays at two parts of an upload. A file that is refused, or whose import is cut off
        at any moment, is deleted: at once, or by the reconciler within hours. Raises
        MediaRefusedError, AssetLimitError, OwnImportsBusyError, ImportsBusyError, StorageDownError,
        and what `chunks` raises.
        """
        with self.slots.take(user_id):
            return await self._import(user_id, chunks, expected=expected)

    async def fetch(self, asset: StoredAsset, target: IO[bytes]) -> None:
        """Write a stored file to a local one. Raises MediaTooLargeError and StorageDownError."""
        limit = self.limits.max_bytes
        with _media_errors(limit):
            if asset.size_bytes > limit:
                raise TooLargeError
            async for chunk in self.objects.read(asset.object_key):
                target.write(chunk)

    async def import_sound(
        self, user_id: UserId, sound: IO[bytes], *, sound_of: str
    ) -> ImportedAsset:
        """Store the sound of a video. The caller holds a slot. sound_of: the video's sha256."""
        return await self._import(user_id, _content(sound), sound_of=sound_of)

    async def _import(
        self,
        user_id: UserId,
        chunks: AsyncIterator[bytes],
        *,
        sound_of: str | None = None,
        expected: MediaKind | None = None,
    ) -> ImportedAsset:
        async with self.database.as_user(user_id) as conn:
            await self._check_limits(conn, user_id, size_bytes=1)
        head = await read_head(chunks)
        if not head:
            raise MediaDamagedError("The file is empty.")
        content_type = content_type_of(head[:SNIFF_BYTES])
        kind = None if content_type is None else kind_of(content_type)
        if content_type is None or kind is None or content_type in MADE_ONLY:
            pictures = expected is MediaKind.IMAGE
            raise MediaUnsupportedError(ACCEPTED_PICTURES if pictures else ACCEPTED)
        if expected not in (None, kind):
            raise MediaUnsupportedError(f"The file must be of the kind {expected}, not {kind}.")
        limit = self.limits.max_bytes_of(kind)
        whole = WholeFile(content_type)
        checked = _playable(kind, whole, _limited(joined(head, chunks), limit))
        with _media_errors(limit):
            if kind is MediaKind.IMAGE:
                stored = await self._store_picture(user_id, whole, checked)
            else:
                kept = await self._store(user_id, content_type, checked, kind, max_bytes=limit)
                stored = _Stored(object=kept, facts=whole.facts or MediaFacts())
        return await self._record(user_id, kind, stored, sound_of)

    async def _store_picture(
        self, user_id: UserId, whole: WholeFile, chunks: AsyncGenerator[bytes]
    ) -> _Stored:
        """Store a picture as models read it. The header's size is checked before it is decoded."""
        with tempfile.TemporaryFile() as file:
            async with aclosing(chunks):
                async for chunk in chunks:
                    file.write(chunk)
            facts = whole.facts or MediaFacts()
            if (facts.width or 0) * (facts.height or 0) > MAX_PIXELS:
                raise TooManyPixelsError
            async with self.pictures.convert(file) as picture:
                stored = await self._store(
                    user_id,
                    picture.content_type,
                    _content(picture.file),
                    MediaKind.IMAGE,
                    max_bytes=CONVERTED_MAX_BYTES,
                )
                return _Stored(object=stored, facts=picture.facts)

    async def _store(
        self,
        user_id: UserId,
        content_type: str,
        chunks: AsyncGenerator[bytes],
        kind: MediaKind,
        *,
        max_bytes: int,
    ) -> StoredObject:
        """Store a file under a random key, which the reconciler deletes unless it is recorded."""
        key = f"{UPLOADS}{secrets.token_hex(20)}.{EXTENSIONS[content_type]}"
        async with self.database.as_user(user_id) as conn:
            await reserve_key(conn, user_id, key)
        async with aclosing(chunks):
            return await self.objects.put_stream(
                key, chunks, expected=kind, max_bytes=max_bytes, on_progress=lambda _: None
            )

    async def _record(
        self, user_id: UserId, kind: MediaKind, stored: _Stored, sound_of: str | None
    ) -> ImportedAsset:
        """Record a stored file, unless the user has its content, or this sound, already."""
        new = NewUpload(
            object_key=stored.object.key,
            kind=kind,
            size_bytes=stored.object.size_bytes,
            sha256=stored.object.sha256,
            content_type=stored.object.content_type,
            media=stored.facts,
            sound_of=sound_of,
        )
        created: StoredAsset | None = None
        try:
            async with self.database.as_user(user_id) as conn:
                await lock_uploads(conn, user_id)
                known = await find_upload(conn, user_id, new.sha256)
                if known is None and sound_of is not None:
                    known = await find_sound(conn, user_id, sound_of)
                if known is None:
                    await self._check_limits(conn, user_id, size_bytes=new.size_bytes)
                    created = await insert_upload(conn, user_id, new)
        finally:
            if created is None:
                await self._delete_unused(new.object_key)
        asset = created or known
        if asset is None:  # storing took an hour
            raise StorageDownError
        if created:
            log.info(
                "asset.uploaded",
                user_id=user_id,
                asset_id=asset.asset_id,
                size_bytes=asset.size_bytes,
            )
        return ImportedAsset(asset=asset, created=created is not None)

    async def _check_limits(self, conn: Connection, user_id: UserId, *, size_bytes: int) -> None:
        totals = await get_upload_totals(conn, user_id)
        if totals.files >= self.limits.files or totals.bytes + size_bytes > self.limits.bytes:
            raise AssetLimitError(
                files=totals.files,
                files_limit=self.limits.files,
                bytes=totals.bytes,
                bytes_limit=self.limits.bytes,
            )

    async def _delete_unused(self, object_key: str) -> None:
        """Delete a stored file. If that fails, the reconciler deletes it: its key is reserved."""
        try:
            await self.objects.delete(object_key)
        except MediaError as error:
            log.warning("asset.delete_failed", reason=type(error).__name__)


@contextmanager
def _media_errors(limit_bytes: int) -> Generator[None]:
    """Translate errors of the file, of its source and of the storage to errors of an order."""
    try:
        yield
    except (StorageUnavailableError, StorageRefusedError) as error:
        log.warning("asset.store_failed", reason=str(error))
        raise StorageDownError from error
    except TooManyPixelsError as error:
        raise MediaTooLargeError(TOO_MANY_PIXELS) from error
    except TooLargeError as error:
        raise MediaTooLargeError(f"The file has more than {limit_bytes} bytes.") from error
    except AnimatedError as error:
        raise MediaUnsupportedError(ANIMATED) from error
    except (IncompleteError, TruncatedError) as error:
        raise MediaDamagedError(DAMAGED) from error
    except (SourceGoneError, SourceRefusedError, SourceUnavailableError, MediaError) as error:
        raise MediaUnavailableError(f"The URL does not serve the file: {error}.") from error


async def _limited(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise TooLargeError
        yield chunk


async def _playable(
    kind: MediaKind, whole: WholeFile, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """Yield a file. At its end, raise if it is not whole, or if it has no picture or no sound.

    Nothing is stored then: the end comes before the last part of an upload.
    """
    async for chunk in whole.read(chunks):
        yield chunk
    facts = whole.facts or MediaFacts()
    if kind is MediaKind.VIDEO and not facts.width:
        raise MediaUnsupportedError(NO_PICTURE)
    if (kind is MediaKind.IMAGE and not facts.width) or (
        kind is MediaKind.AUDIO and not facts.has_audio
    ):
        raise IncompleteError("the headers are not readable")


async def _content(file: IO[bytes]) -> AsyncGenerator[bytes]:
    while chunk := file.read(READ_BYTES):
        yield chunk
