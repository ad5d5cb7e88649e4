"""Files of deleted executions leave object storage, also after a crash or an outage."""

from collections.abc import Awaitable, Callable

import pytest

from core.domain.media.content import StorageUnavailableError
from core.store.files.object_storage import ObjectStore
from tests.maintenance.reconciling import run_task
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
    assert await _pending(harness) == list(keys)
    assert await harness.objects.read_small(keys[1]) is not None

    await run_task(harness, FakeTemporal(), "delete_files")

    assert await _pending(harness) == []
    assert [await harness.objects.read_small(key) for key in keys] == [None, None]
