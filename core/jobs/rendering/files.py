"""Files between object storage and the folder of a media run."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from core.domain.media.content import (
    SNIFF_BYTES,
    MediaKind,
    StorageUnavailableError,
    require_kind,
)
from core.store.database import Database
from core.store.files.assets import Asset
from core.store.files.job_files import JobFiles
from core.store.jobs.jobs import JobRecord
from core.store.jobs.media_jobs import RunNotes, get_notes, note_run, reserve_keys

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFile:
    """A file that a run has made."""

    kind: MediaKind
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Downloads the inputs of runs and stores what they make.

    Each stored file has a place in the queue of deletions until its asset is recorded, so that a
    run whose job was cancelled leaves none.
    """

    database: Database
    files: JobFiles

    async def download(self, object_key: str, path: Path, *, size_bytes: int) -> None:
        """Write a stored file to a path. Raises StorageUnavailableError or StorageRefusedError."""
        async with aclosing(self._read(object_key, size_bytes)) as chunks:
            with await asyncio.to_thread(path.open, "wb") as file:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)

    async def store(
        self,
        job: JobRecord,
        made: Sequence[MadeFile],
        *,
        first_number: int = 0,
        content_key: str = "",
        notes: RunNotes | None = None,
    ) -> list[Asset]:
        """Store the files of a job, and return their rows, which the caller records.

        notes: for `find`. Repeating is safe: it writes the same keys. Raises MediaError.
        """
        keys: list[str] = []
        for number, item in enumerate(made, first_number):
            with await asyncio.to_thread(item.path.open, "rb") as file:
                head = await asyncio.to_thread(file.read, SNIFF_BYTES)
            content_type = require_kind(head, item.kind)
            keys.append(
                self.files.object_key(
                    job.job_id, number, item.kind, content_type, content_key=content_key
                )
            )
        await self._reserve(job, keys, notes)
        assets: list[Asset] = []
        for number, item in enumerate(made, first_number):
            async with aclosing(_chunks(item.path)) as chunks:
                asset, _ = await self.files.put(
                    job, number, item.kind, chunks, content_key=content_key
                )
            assets.append(asset)
        return assets

    async def find(
        self, job: JobRecord, kinds: Sequence[MediaKind], content_key: str
    ) -> tuple[list[Asset], RunNotes] | None:
        """Return what `store` has stored of this content without a row, if it is whole.

        kinds: of all files, in their order. Raises StorageUnavailableError, StorageRefusedError.
        """
        first = await self.files.find(job, 0, kinds[0], content_key=content_key)
        if first is None:
            return None
        # A deletion that has begun ends before the place is taken; it is seen below.
        await self._reserve(job, [first[0].object_key])
        assets: list[Asset] = []
        for number, kind in enumerate(kinds):
            stored = await self.files.find(job, number, kind, content_key=content_key)
            if stored is None:
                return None
            assets.append(stored[0])
        await self._reserve(job, [asset.object_key for asset in assets[1:]])
        async with self.database.as_user(job.user_id) as conn:
            return assets, await get_notes(conn, job.job_id)

    async def copy(self, job: JobRecord, assets: Sequence[Asset]) -> list[Asset]:
        """Store copies of another job's files as those of this job.

        Each execution owns its files, so deleting one leaves the other whole. Raises MediaError,
        also if a file has been deleted.
        """
        keys = {
            asset.output_number: self.files.object_key(
                job.job_id, asset.output_number, asset.kind, asset.content_type, copied=True
            )
            for asset in assets
        }
        await self._reserve(job, list(keys.values()))
        copies: list[Asset] = []
        for asset in assets:
            async with aclosing(self._read(asset.object_key, asset.size_bytes)) as chunks:
                copy, _ = await self.files.put(
                    job, asset.output_number, asset.kind, chunks, copied=True
                )
            copies.append(copy)
        return copies

    async def _read(self, object_key: str, size_bytes: int) -> AsyncGenerator[bytes]:
        """Yield a file that has this size. Raises StorageUnavailableError if it arrives in another.

        A short answer of the storage is no verdict on the file.
        """
        arrived = 0
        async with aclosing(self.files.objects.read(object_key)) as chunks:
            async for chunk in chunks:
                arrived += len(chunk)
                yield chunk
        if arrived != size_bytes:
            raise StorageUnavailableError(f"{arrived} of {size_bytes} bytes of a file arrived")

    async def _reserve(
        self, job: JobRecord, keys: Sequence[str], notes: RunNotes | None = None
    ) -> None:
        async with self.database.as_user(job.user_id) as conn:
            await reserve_keys(conn, job.user_id, keys)
            if notes is not None:
                await note_run(conn, job.job_id, notes)


async def _chunks(path: Path) -> AsyncGenerator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
