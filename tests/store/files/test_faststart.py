"""Faststart: a film with its index at the end is copied in storage, part by part."""

import dataclasses
import hashlib
import struct
from typing import TYPE_CHECKING

import pytest

from core.domain.media.containers.completeness import WholeFile
from core.domain.media.containers.index import LateIndex
from core.domain.media.content import MediaKind, StorageUnavailableError
from core.store.files.faststart import store_with_index_first
from core.store.files.object_storage import ObjectStore, StoredObject
from core.store.files.uploads import PART_BYTES
from tests.store.files.bucket import assert_nothing_stored, chunks_of, download, put
from tests.support.media_files import boxes, film

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

pytestmark = pytest.mark.guarantee("G7")


def large_film(more_bytes: int) -> bytes:
    """Return a film with this many unused bytes after its frames, and its index at the end."""
    small = boxes(film("mp4", "libx264"))
    data = small[b"mdat"][8:] + bytes(more_bytes)
    head = small[b"ftyp"] + small[b"free"]
    return head + struct.pack(">I4s", len(data) + 8, b"mdat") + data + small[b"moov"]


async def stored_film(
    store: ObjectStore, key: str, content: bytes
) -> tuple[StoredObject, LateIndex]:
    whole = WholeFile("video/mp4")
    stored = await put(store, key, whole.read(chunks_of(content, 300_000)))
    assert whole.late_index is not None
    return stored, whole.late_index


@pytest.mark.parametrize("more_bytes", [0, 2 * PART_BYTES + 5])
async def test_copy_has_its_index_first_and_the_same_frames(
    store: ObjectStore, key: str, more_bytes: int
) -> None:
    content = large_film(more_bytes)
    original, index = await stored_film(store, key, content)
    copy = f"{key}-copy"
    stored, facts = await store_with_index_first(
        store, original, index, key=copy, kind=MediaKind.VIDEO
    )
    written = (await download(store, copy)).content
    assert stored == StoredObject(
        key=copy,
        size_bytes=len(content),
        sha256=hashlib.sha256(written).hexdigest(),
        content_type="video/mp4",
    )
    again, _ = await store_with_index_first(store, original, index, key=copy, kind=MediaKind.VIDEO)
    assert again == stored
    assert list(boxes(written)) == [b"ftyp", b"moov", b"free", b"mdat"]
    assert boxes(written)[b"mdat"] == boxes(content)[b"mdat"]
    assert facts is not None
    assert (facts.faststart, facts.width, facts.duration_seconds) == (True, 64, 0.3)
    assert (await download(store, key)).content == content


@pytest.mark.parametrize("more_bytes", [0, 2 * PART_BYTES])
async def test_film_that_changed_meanwhile_is_not_copied(
    store: ObjectStore, s3: "S3Client", key: str, more_bytes: int
) -> None:
    original, index = await stored_film(store, key, large_film(more_bytes))
    changed = dataclasses.replace(original, sha256="0" * 64)
    with pytest.raises(StorageUnavailableError, match="changed"):
        await store_with_index_first(store, changed, index, key=f"{key}-copy", kind=MediaKind.VIDEO)
    await assert_nothing_stored(store, s3, f"{key}-copy")
