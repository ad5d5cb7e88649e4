"""Faststart: a stored film is copied with its index in front, so that a player starts at once.

No frame is read or encoded. The copy has a key of its own, so that a failure leaves the film as it
was, and the content of a key never changes.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing

from core.domain.media.containers.completeness import WholeFile
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.containers.index import LateIndex, moved
from core.domain.media.content import MediaKind, StorageUnavailableError
from core.store.files.object_storage import ObjectStore, StoredObject
from core.store.files.uploads import MAX_PARTS, PART_BYTES


async def store_with_index_first(
    objects: ObjectStore, film: StoredObject, index: LateIndex, *, key: str, kind: MediaKind
) -> tuple[StoredObject, MediaFacts | None]:
    """Store a copy of the film under the key, in bounded memory. Return it and its facts.

    Nothing is stored if the film has changed since its index was read. Repeating is safe: it writes
    the same bytes. Raises UnmovableIndexError and what the object storage raises.
    """
    whole = WholeFile(film.content_type)
    async with aclosing(_reordered(objects, film, index)) as chunks:
        stored = await objects.put_stream(
            key,
            whole.read(chunks),
            expected=kind,
            max_bytes=MAX_PARTS * PART_BYTES,
            on_progress=lambda _: None,
        )
    return stored, whole.facts


async def _reordered(
    objects: ObjectStore, film: StoredObject, index: LateIndex
) -> AsyncGenerator[bytes]:
    async def read(start: int, end: int) -> bytes:
        return b"".join([chunk async for chunk in objects.read(film.key, start, end)])

    file_type = await read(0, index.target)
    old = await read(index.start, index.end)
    yield file_type
    yield await asyncio.to_thread(moved, old[index.content - index.start :], index)
    digest = hashlib.sha256(file_type)
    async for chunk in objects.read(film.key, index.target, index.start):
        digest.update(chunk)
        yield chunk
    digest.update(old)
    async for chunk in objects.read(film.key, index.end, film.size_bytes):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != film.sha256:
        raise StorageUnavailableError("the stored file has changed while it was copied")
