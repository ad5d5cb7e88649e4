"""Changes of an execution as a worker makes them, one transaction each."""

from core.domain.ids import ProviderJobId
from core.domain.messages.executions import ExecutionRef
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.store.database import Database
from core.store.executions.ends import lock_open_execution, mark_ended
from core.store.jobs.jobs import mark_job_ended
from core.store.jobs.sends import begin_send, mark_submitted
from core.store.money.settlement import settle_charge
from tests.support.rows import IMAGE_MODEL


async def send(database: Database, ref: JobRef, number: int = 1) -> None:
    async with database.as_user(ref.user_id) as conn:
        assert await begin_send(conn, ref, number, {}, {}) is not None


async def buy(database: Database, ref: JobRef) -> None:
    """Run one job from its send to its settlement."""
    await send(database, ref)
    handle = ProviderHandle(
        provider="fal", model=IMAGE_MODEL, provider_job_id=ProviderJobId(f"at-{ref.job_id}")
    )
    async with database.as_user(ref.user_id) as conn:
        assert await mark_submitted(conn, ref.job_id, 1, handle)
    async with database.as_user(ref.user_id) as conn:
        await mark_job_ended(
            conn, ref.job_id, JobState.COMPLETED, None, expected=(JobState.SUBMITTED,)
        )
        await settle_charge(conn, ref.job_id, NanoUsd(2_000_000), CostBasis.REPORTED)


async def finish(database: Database, ref: ExecutionRef, status: ExecutionStatus) -> None:
    async with database.as_user(ref.user_id) as conn:
        assert await lock_open_execution(conn, ref) is not None
        await mark_ended(
            conn, ref.execution_id, status, progress=100, result={"url": "x"}, error=None
        )
