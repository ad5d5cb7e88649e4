"""Files of deleted executions leave object storage, also after a crash or an outage."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from core.domain.media.content import StorageUnavailableError
from core.store.files.object_storage import ObjectStore
from core.store.jobs.media_jobs import reserve_keys
from tests.maintenance.reconciling import run_task
from tests.store.money.test_raised_holds import until_blocked
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import Accepted, accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G6")

QUEUE = "INSERT INTO file_deletions (object_key, user_id, execution_id) VALUES ($1, $2, $3)"


async def _queued(harness: ActivityHarness, *keys: str) -> Accepted:
    """Store small files under the keys and queue them for deletion."""
    one = await accept(harness.database, new_execution(await new_user(harness.database)))
    async with harness.database.as_user(one.user_id) as conn:
        for key in keys:
            await harness.objects.write_small(
                key, b"a file", content_type="text/plain", replaces=None
            )
            await conn.execute(QUEUE, key, one.user_id, one.execution_id)
    return one


async def _pending(harness: ActivityHarness) -> list[str]:
    async with harness.database.as_system() as conn:
        rows = await conn.fetch("SELECT object_key FROM file_deletions ORDER BY 1")
    return [row["object_key"] for row in rows]


def _breaking_at(
    key: str, error: type[BaseException]
) -> Callable[[ObjectStore, str], Awaitable[None]]:
    delete = ObjectStore.delete

    async def broken(self: ObjectStore, requested: str) -> None:
        if requested == key:
            raise error("away")
        await delete(self, requested)

    return broken


@pytest.mark.parametrize("error", [StorageUnavailableError, SystemExit], ids=["outage", "crash"])
async def test_files_are_deleted_after_an_interruption(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    keys = ("deleted/1", "deleted/2")
    await _queued(harness, *keys)
    with monkeypatch.context() as broken:
        broken.setattr(ObjectStore, "delete", _breaking_at(keys[1], error))
        if error is SystemExit:
            with pytest.raises(SystemExit):
                await run_task(harness, FakeTemporal(), "delete_files")
        else:
            await run_task(harness, FakeTemporal(), "delete_files")
    assert await _pending(harness) == [keys[1]]
    assert await harness.objects.read_small(keys[1]) is not None

    await run_task(harness, FakeTemporal(), "delete_files")

    assert await _pending(harness) == []
    assert [await harness.objects.read_small(key) for key in keys] == [None, None]


async def test_file_is_not_deleted_after_its_place_was_taken_again(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that takes the place waits for the deletion, and then stores the file again."""
    key = "deleted/again"
    one = await _queued(harness, key)
    deleting, may_delete = asyncio.Event(), asyncio.Event()
    delete = ObjectStore.delete

    async def slow(self: ObjectStore, requested: str) -> None:
        deleting.set()
        await may_delete.wait()
        await delete(self, requested)

    async def store_again() -> None:
        async with harness.database.as_user(one.user_id) as conn:
            await reserve_keys(conn, one.user_id, [key])
        await harness.objects.write_small(
            key, b"a new file", content_type="text/plain", replaces=None
        )

    monkeypatch.setattr(ObjectStore, "delete", slow)
    cleaning = asyncio.create_task(run_task(harness, FakeTemporal(), "delete_files"))
    await deleting.wait()
    storing = asyncio.create_task(store_again())
    await until_blocked(harness.database)
    may_delete.set()
    await asyncio.gather(cleaning, storing)
    assert await harness.objects.read_small(key) is not None
    assert await _pending(harness) == [key], "it is deleted unless an asset is recorded"
