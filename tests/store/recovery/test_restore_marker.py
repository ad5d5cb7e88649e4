"""The restore marker on the real S3 server: a write replaces what was read, or nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from core.store.files.object_storage import ObjectChangedError, ObjectStore
from core.store.recovery.restore_marker import (
    MARKER_KEY,
    MarkerChangedError,
    MarkerUnreadableError,
    RestoreMarker,
    read_marker,
    write_marker,
)
from tests.store.files.conftest import s3, s3_settings, store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from types_aiobotocore_s3 import S3Client

pytestmark = pytest.mark.guarantee("G1")
__all__ = ["s3", "s3_settings", "store"]

FIRST = RestoreMarker(serial=1, at=datetime(2026, 11, 29, tzinfo=UTC), database="one")
WRITERS = 6


@pytest.fixture
async def objects(store: ObjectStore) -> AsyncGenerator[ObjectStore]:
    await store.delete(MARKER_KEY)
    yield store
    await store.delete(MARKER_KEY)


async def serial(objects: ObjectStore) -> int | None:
    marker = await read_marker(objects)
    return marker.serial if marker is not None else None


async def test_marker_is_replaced_only_by_its_reader(objects: ObjectStore) -> None:
    old = await write_marker(objects, FIRST, replaces=None)
    new = await write_marker(objects, replace(FIRST, serial=7), replaces=old)
    for version in (old, None):  # a leader that stopped after its last look
        with pytest.raises(MarkerChangedError):
            await write_marker(objects, replace(FIRST, serial=2), replaces=version)
    marker = await read_marker(objects)
    assert marker == replace(FIRST, serial=7, version=new)


async def test_deleted_marker_is_not_replaced(objects: ObjectStore) -> None:
    old = await write_marker(objects, FIRST, replaces=None)
    await objects.delete(MARKER_KEY)
    with pytest.raises(MarkerChangedError):
        await write_marker(objects, replace(FIRST, serial=2), replaces=old)
    assert await serial(objects) is None


async def test_unreadable_marker_can_be_replaced(objects: ObjectStore) -> None:
    await objects.write_small(MARKER_KEY, b"[", content_type="text/plain", replaces=None)
    with pytest.raises(MarkerUnreadableError) as raised:
        await read_marker(objects)
    await write_marker(objects, FIRST, replaces=raised.value.version)
    assert await serial(objects) == 1


async def test_marker_moves_to_the_private_bucket(
    objects: ObjectStore, s3: S3Client, s3_settings: dict[str, str]
) -> None:
    old = await write_marker(objects, FIRST, replaces=None)
    private = "takeone-private"
    await s3.create_bucket(Bucket=private)
    async with ObjectStore.open(
        **s3_settings, cdn_base_url=None, private_bucket=private
    ) as changed:
        read = await read_marker(changed)
        assert read is not None
        assert (read.serial, read.version) == (1, "")  # still detects a restore
        await write_marker(changed, replace(FIRST, serial=2), replaces=read.version)
        assert (await serial(changed), await serial(objects)) == (2, None)
        with pytest.raises(MarkerChangedError):  # another process that read the earlier one
            await write_marker(changed, FIRST, replaces=read.version)
        with pytest.raises(MarkerChangedError):
            await write_marker(objects, FIRST, replaces=old)
        assert await serial(changed) == 2
        await changed.check()
    await s3.delete_object(Bucket=private, Key=MARKER_KEY)
    await s3.delete_bucket(Bucket=private)


async def test_one_of_several_simultaneous_writers_wins(objects: ObjectStore) -> None:
    version = None
    for round_ in range(5):

        async def write(number: int, version: str | None = version, round_: int = round_) -> str:
            content = f"{round_}/{number}".encode()
            return await objects.write_small(
                MARKER_KEY, content, content_type="text/plain", replaces=version
            )

        results = await asyncio.gather(*map(write, range(WRITERS)), return_exceptions=True)
        (version,) = [result for result in results if isinstance(result, str)]
        assert sum(isinstance(result, ObjectChangedError) for result in results) == WRITERS - 1
