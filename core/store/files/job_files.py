"""Files of jobs in object storage: their keys, and how their content gets there."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from core.domain.ids import JobId, derived_asset_id
from core.domain.media.containers.completeness import WholeFile
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.containers.index import LateIndex
from core.domain.media.content import (
    CONTENT_TYPES,
    EXTENSIONS,
    SNIFF_BYTES,
    IncompleteError,
    MediaKind,
    require_kind,
)
from core.store.files.assets import Asset
from core.store.files.heads import joined, read_head
from core.store.files.object_storage import ObjectStore, StoredObject
from core.store.jobs.jobs import JobRecord

MAX_BYTES = 2 * 1024**3
"""Ten times a minute of 4K video."""
CONTENT_KEY_CHARS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFiles:
    """Stores what jobs produced.

    key_secret: derives object keys that are unguessable and the same in every try.
    """

    objects: ObjectStore
    key_secret: bytes = field(repr=False)

    async def put(
        self,
        job: JobRecord,
        number: int,
        kind: MediaKind,
        chunks: AsyncIterator[bytes],
        *,
        content_key: str = "",
        copied: bool = False,
    ) -> tuple[Asset, LateIndex | None]:
        """Store a job's output from a stream, in bounded memory. copied: see object_key.

        Return its row, which the caller records, and the index of a film that has it at the end.
        Repeating is safe: it writes the same key. Raises MediaError.
        """
        head = await read_head(chunks)
        content_type = require_kind(head[:SNIFF_BYTES], kind)
        whole = WholeFile(content_type)
        stored = await self.objects.put_stream(
            self.object_key(
                job.job_id, number, kind, content_type, content_key=content_key, copied=copied
            ),
            whole.read(joined(head, chunks)),
            expected=kind,
            max_bytes=MAX_BYTES,
            on_progress=lambda _: None,
        )
        return asset_of(job, number, kind, stored, whole.facts), whole.late_index

    async def find(
        self, job: JobRecord, number: int, kind: MediaKind, *, content_key: str = ""
    ) -> tuple[Asset, LateIndex | None] | None:
        """Return a job's output that is in the bucket without a row, with its index as `put` does.

        A worker was killed between storing and recording it, or the database was restored from an
        older backup. The file is read through. Raises StorageUnavailableError, StorageRefusedError.
        """
        keys = [
            self.object_key(
                job.job_id, number, kind, content_type, faststart=first, content_key=content_key
            )
            for content_type in sorted(CONTENT_TYPES[kind])
            for first in ((False,) if content_key else (True, False))
        ]
        stored = next(filter(None, await asyncio.gather(*map(self.objects.head, keys))), None)
        if stored is None:
            return None
        whole = WholeFile(stored.content_type)
        try:
            async with aclosing(self.objects.read(stored.key)) as chunks:
                async for _ in whole.read(chunks):
                    pass
        except IncompleteError:  # it was checked, by an earlier version, when it was stored
            return asset_of(job, number, kind, stored, None), None
        return asset_of(job, number, kind, stored, whole.facts), whole.late_index

    def object_key(
        self,
        job_id: JobId,
        number: int,
        kind: MediaKind,
        content_type: str,
        *,
        faststart: bool = False,
        content_key: str = "",
        copied: bool = False,
    ) -> str:
        """Return the object key: the same in every try, unique to the job, unguessable.

        faststart: of the copy whose index was moved to the front. content_key: of a media step; the
        file under such a key was made from exactly these inputs by this engine, so two workers of
        different versions write different objects. copied: of another job's file. A job whose
        copies fail makes or buys its files, and these must not have keys that are queued for
        deletion.
        """
        digest = hmac.new(self.key_secret, f"{job_id}/{number}".encode(), hashlib.sha256)
        made = f"-{content_key[:CONTENT_KEY_CHARS]}" if content_key else ""
        suffix = "-faststart" if faststart else "-copy" if copied else ""
        return f"{kind}s/{digest.hexdigest()[:40]}{made}{suffix}.{EXTENSIONS[content_type]}"


def asset_of(
    job: JobRecord, number: int, kind: MediaKind, stored: StoredObject, media: MediaFacts | None
) -> Asset:
    return Asset(
        asset_id=derived_asset_id(job.job_id, number),
        job_id=job.job_id,
        output_number=number,
        execution_id=job.execution_id,
        user_id=job.user_id,
        kind=kind,
        object_key=stored.key,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        content_type=stored.content_type,
        media=media,
    )
