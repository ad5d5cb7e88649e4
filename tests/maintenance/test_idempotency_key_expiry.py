"""The reconciler deletes idempotency keys that have expired, and no others."""

import pytest

import core.maintenance.cleanup
from core.store.executions.idempotency import StoredAnswer, find_answer, insert_answer
from tests.maintenance.reconciling import run_all_tasks
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import new_user

pytestmark = pytest.mark.guarantee("G1")


async def test_reconciler_forgets_keys_of_30_days_page_by_page(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.maintenance.cleanup, "KEYS_PAGE", 2)
    user_id = await new_user(harness.database)
    kept = StoredAnswer(request_sha256=bytes(32), answer=b"{}")
    async with harness.database.as_user(user_id) as conn:
        for number in range(6):
            await insert_answer(conn, user_id, f"key {number}", kept)
    await harness.as_owner(
        "UPDATE idempotency_keys SET created_at = now() - interval '30 days' WHERE user_id = $1 AND key <> 'key 5'",
        user_id,
    )

    await run_all_tasks(harness, FakeTemporal())

    async with harness.database.as_user(user_id) as conn:
        assert await conn.fetchval("SELECT count(*) FROM idempotency_keys") == 1
        assert await find_answer(conn, user_id, "key 5") == kept
