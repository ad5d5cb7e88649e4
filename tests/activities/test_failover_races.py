"""A cancel and a failover at the same moment."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from core.domain.states import JobState
from core.store.executions.executions import mark_cancel_requested
from core.store.jobs.callbacks import notify_open_jobs
from tests.activities.test_failover import count_jobs, ordered
from tests.support.activity_harness import ActivityHarness, polling

pytestmark = pytest.mark.guarantee("G1", "G5")

IS_WAITED_FOR = """
SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid)
"""
"""Whether a transaction waits for the caller's."""


async def test_cancel_and_failover_at_once_do_not_block_each_other(
    still: ActivityHarness,
) -> None:
    """Both lock the execution before the job: the cancel comes first here, and wins."""
    one = await ordered(still)
    order = still.sandbox.fault("moderated", provider="replicate")
    await still.run(still.jobs.submit, one.image)
    async with AsyncExitStack() as stack:
        async with still.database.as_user(one.user_id) as conn:
            await mark_cancel_requested(conn, one.execution_id, "enough", generation=1)
            await stack.enter_async_context(polling(still.poller))
            async with asyncio.timeout(15):
                while not await conn.fetchval(IS_WAITED_FOR):  # noqa: ASYNC110 - no event shows it
                    await asyncio.sleep(0.02)
            await notify_open_jobs(conn, one.execution_id)
        settled = (await still.run(still.jobs.wait, one.image)).settled
    assert still.sandbox.fired(order) == 1
    assert settled is not None
    assert (settled.state, settled.next_job) == (JobState.FAILED, None)
    assert await count_jobs(still, one) == 1
