"""Helpers that queue, claim and end executions, and read the concurrency counters."""

from temporalio.testing import ActivityEnvironment

from activities.executions import ExecutionActivities
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, UserId
from core.domain.messages.executions import (
    ClaimResult,
    ExecutionRef,
    FinishInput,
)
from core.domain.states import ExecutionStatus
from core.store.accounts.users import UserLimits
from core.store.database import Database
from core.store.executions.executions import (
    claim_execution,
)
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.webhooks.asset_links import AssetLinks
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import Accepted, accept, new_execution, new_user

TWO = ConcurrencyLimits(running_executions=2)


async def user_with_limits(
    database: Database, *, opened: int | None = None, running: int | None = None
) -> UserId:
    limits = UserLimits(
        monthly_videos=None,
        monthly_nano_usd=None,
        open_executions=opened,
        running_executions=running,
    )
    return await new_user(database, limits)


async def accept_queued(database: Database, user_id: UserId, number: int) -> list[Accepted]:
    return [await accept(database, new_execution(user_id), claimed=False) for _ in range(number)]


async def claim(
    database: Database, ref: ExecutionRef, limits: ConcurrencyLimits = TWO
) -> ClaimResult:
    async with database.as_user(ref.user_id) as conn:
        return await claim_execution(conn, ref, limits)


async def read_counters(database: Database, user_id: UserId) -> tuple[int, int]:
    """Return the open and running counters, which must match the rows."""
    async with database.as_user(user_id) as conn:
        row = await conn.fetchrow(
            "SELECT c.open_executions, c.running_executions,"
            " (SELECT count(*) FROM executions WHERE status IN ('queued', 'running')) AS really_open,"
            " (SELECT count(*) FROM executions WHERE status = 'running') AS really_running"
            " FROM concurrency_counters AS c"
        )
    assert row is not None
    opened, running, really_open, really_running = row
    assert (opened, running) == (really_open, really_running)
    return opened, running


class Starter:
    """Ends executions as a worker does, and records the executions that are started next."""

    def __init__(self, database: Database, limits: ConcurrencyLimits = TWO) -> None:
        self._temporal = FakeTemporal()
        self.activities = ExecutionActivities(
            database=database,
            links=AssetLinks(public_base_url="http://api.test", cdn_base_url=None),
            client=self._temporal.client(),
            limits=limits,
        )

    @property
    def started(self) -> list[ExecutionId]:
        return self._temporal.started

    async def end(
        self, ref: ExecutionRef, status: ExecutionStatus = ExecutionStatus.FAILED
    ) -> None:
        failure = (
            None if status is ExecutionStatus.COMPLETED else Failure.of(FailureCode.TERMINATED)
        )
        order = FinishInput(execution=ref, status=status, failure=failure)
        await ActivityEnvironment().run(self.activities.finish, order)
