"""The reconciler erases users' provider keys that no open job needs, and no others."""

import pytest

from core.store.jobs.sends import begin_send
from core.store.providers.user_keys import KeyErasedError, delete_key, open_key, put_key
from tests.maintenance.reconciling import run_task
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.operator_jobs import REQUEST
from tests.support.rows import SEALER, accept, new_execution, new_user

pytestmark = pytest.mark.guarantee("G6")

KEY = "a key of one's own at fal"


async def test_reconciler_erases_provider_keys_when_the_last_bill_is_paid(
    harness: ActivityHarness,
) -> None:
    one = await accept(harness.database, new_execution(await new_user(harness.database)))
    async with harness.database.as_user(one.user_id) as conn:
        unused = await put_key(conn, SEALER, one.user_id, "replicate", KEY)
        used = await put_key(conn, SEALER, one.user_id, "fal", KEY)
        assert await begin_send(
            conn, one.image, 1, REQUEST, {}, provider_key_id=used.provider_key_id
        )
        for provider in ("replicate", "fal"):
            await delete_key(conn, one.user_id, provider)

    await run_task(harness, FakeTemporal(), "erase_provider_keys")

    async with harness.database.as_user(one.user_id) as conn:
        with pytest.raises(KeyErasedError):
            await open_key(conn, SEALER, unused.provider_key_id)
        assert await open_key(conn, SEALER, used.provider_key_id) == KEY
        await conn.execute(
            "UPDATE jobs SET state = 'failed', ended_at = now() WHERE job_id = $1", one.image.job_id
        )
        await conn.execute(
            "UPDATE charges SET state = 'released', ended_at = now() WHERE job_id = $1",
            one.image.job_id,
        )

    await run_task(harness, FakeTemporal(), "erase_provider_keys")

    async with harness.database.as_user(one.user_id) as conn:
        with pytest.raises(KeyErasedError):
            await open_key(conn, SEALER, used.provider_key_id)
