"""The start memo: read in the transaction that accepts the execution."""

from datetime import timedelta
from typing import cast

import pytest

from core.domain.ids import UserId
from core.domain.messages.executions import ExecutionOrder
from core.ordering.workflow_starts import start_execution
from core.platform.temporal.policies import END_SLACK
from core.store.database import Database
from core.store.executions.executions import insert_execution
from core.store.recovery.start_memo import AcceptedRows, get_accepted
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import new_execution, new_user
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G1")


async def test_memo_is_complete_before_the_counters_are_locked(
    fresh_database: FreshDatabase,
) -> None:
    early: list[AcceptedRows] = []
    async with Database.open(fresh_database.application_dsn) as database:
        new = new_execution(await new_user(database), deadline_seconds=600)
        async with database.as_user(new.user_id) as conn:

            async def read() -> None:
                early.append(await get_accepted(conn, new.execution_id))
                assert await conn.fetchval("SELECT count(*) FROM concurrency_counters") == 0

            await insert_execution(conn, new, read=read)
        async with database.as_user(new.user_id) as conn:
            committed = await get_accepted(conn, new.execution_id)
    assert early == [committed]
    assert (len(committed.document["jobs"]), len(committed.document["charges"])) == (2, 2)
    assert committed.seconds_left == 600


async def test_workflow_starts_without_reading_what_was_just_written() -> None:
    new = new_execution(UserId("usr_1"))
    order = ExecutionOrder(
        execution_id=new.execution_id, user_id=new.user_id, generation=1, plan=new.plan
    )
    temporal = FakeTemporal()
    await start_execution(
        temporal.client(),
        cast("Database", None),
        order,
        prompt="A paper boat",
        accepted=AcceptedRows(document={}, seconds_left=60),
    )
    assert temporal.started == [new.execution_id]
    assert temporal.run_timeouts == [timedelta(seconds=60) + END_SLACK]
