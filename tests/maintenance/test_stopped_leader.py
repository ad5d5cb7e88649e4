"""Two worker processes: the leader stops in the middle of a transaction, and wakes up later."""

import signal
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from core.domain.ids import UserId
from tests.support.activity_harness import ActivityHarness
from tests.support.receiver import Receiver
from tests.support.rows import accept, assert_books_balance, new_execution, new_user
from tests.support.servers import FreshDatabase, S3Server, TemporalServer
from tests.support.worker_process import (
    STOP_AT,
    STOPPED,
    WorkerProcess,
    running_worker,
    worker_environment,
)

pytestmark = pytest.mark.guarantee("G5")

SHORT = {
    "core.maintenance.reconciler:LEASE_SECONDS": 3.0,
    "core.maintenance.reconciler:STOP_BEFORE_SECONDS": 0.5,
    "core.maintenance.reconciler:RENEW_SECONDS": 0.3,
    "core.maintenance.reconciler:EVERY_SECONDS": 1.0,
    "core.store.database:IDLE_TRANSACTION_SECONDS": 2,
}
TAKEN, LOST = "reconciler.leadership_taken", "reconciler.leadership_lost"


START_SECONDS = 120.0
"""Two processes start at once and read all their modules: 5 s here, and half a minute alongside a
whole suite.
"""

# When the lease went from one process to another, and when the earlier one's had expired.
RECORD_HANDOVERS = """
CREATE TABLE handovers (expired_at timestamptz, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION record_handover() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.handovers (expired_at) VALUES (OLD.expires_at);
    RETURN NULL;
END $$;
CREATE TRIGGER record_handover AFTER UPDATE ON leases
    FOR EACH ROW WHEN (OLD.token <> NEW.token) EXECUTE FUNCTION record_handover();
"""


async def handovers_of(dsn: str) -> list[tuple[datetime, datetime]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch("SELECT expired_at, at FROM handovers")
    finally:
        await connection.close()
    return [(row["expired_at"], row["at"]) for row in rows]


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("no_restore_marker")
async def test_stopped_leader_is_replaced_and_wakes_without_harm(
    harness: ActivityHarness,
    fresh_database: FreshDatabase,
    temporal_server: TemporalServer,
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    """It stops while it ends an execution, with the execution's row locked."""
    async with AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(Receiver.open())
        user_id = await new_user(harness.database)
        one = await accept(
            harness.database, new_execution(user_id, webhook_url=receiver.url), claimed=False
        )
        await harness.as_owner("UPDATE executions SET queued_at = now() - interval '100 days'")
        await harness.as_owner(RECORD_HANDOVERS)
        environment = worker_environment(
            fresh_database,
            temporal_server,
            s3_server,
            ALLOWED_PRIVATE_HOSTS=urlsplit(receiver.url).netloc,
            **{STOP_AT: "activities.executions:mark_ended", STOPPED: str(tmp_path / "stopped")},
        )
        workers = [
            await stack.enter_async_context(
                running_worker(environment, tmp_path / f"{name}.log", **SHORT)
            )
            for name in ("one", "other")
        ]
        first = await stopped_one(workers)
        (second,) = (each for each in workers if each is not first)
        assert first.events(TAKEN)

        await second.until(lambda: bool(second.events("execution.ended")))
        assert first.is_stopped
        handovers = await handovers_of(fresh_database.owner_dsn)
        assert handovers
        assert all(at >= expired_at for expired_at, at in handovers)

        taken, lost = len(first.events(TAKEN)), len(first.events(LOST))
        first.send(signal.SIGCONT)
        await first.until(lambda: len(first.events(LOST)) > lost)
        second.send(signal.SIGTERM)
        await second.process.wait()
        await first.until(lambda: len(first.events(TAKEN)) > taken)
        # Not earlier: Temporal also hands tasks to the polls of a stopped process.
        await first.until(lambda: bool(receiver.received))

    await check_ended_once(harness, user_id)
    assert len(receiver.received) == 1
    assert await harness.charge(one.image) == ("released", 0)


async def check_ended_once(harness: ActivityHarness, user_id: UserId) -> None:
    async with harness.database.as_user(user_id) as conn:
        execution = await conn.fetchrow("SELECT status, error ->> 'code' AS code FROM executions")
        events = await conn.fetchval("SELECT count(*) FROM webhooks")
        released = await conn.fetchval(
            "SELECT count(*) FROM ledger_entries WHERE kind = 'released'"
        )
        await assert_books_balance(conn, user_id)
    assert execution is not None
    assert tuple(execution) == ("failed", "queue_timed_out")
    assert (events, released) == (1, 2)


async def stopped_one(workers: list[WorkerProcess]) -> WorkerProcess:
    await workers[0].until(lambda: any(each.is_stopped for each in workers), seconds=START_SECONDS)
    (stopped,) = [each for each in workers if each.is_stopped]
    return stopped
