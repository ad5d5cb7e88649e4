"""An execution moved through its states by the store's functions, as the worker does it."""

from dataclasses import dataclass

from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, ProviderJobId, UserId
from core.domain.messages.executions import ExecutionRef
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.store.database import Database
from core.store.executions.ends import lock_open_execution, mark_ended
from core.store.executions.executions import claim_execution
from core.store.jobs.jobs import mark_job_ended
from core.store.jobs.sends import begin_send, mark_submitted
from core.store.money.charges import release_charge
from core.store.money.settlement import settle_charge


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    database: Database
    ref: ExecutionRef
    jobs: dict[str, JobId]

    @classmethod
    async def claimed(cls, database: Database, user_id: UserId, execution_id: str) -> "Walk":
        ref = ExecutionRef(user_id=user_id, execution_id=ExecutionId(execution_id), generation=1)
        async with database.as_user(user_id) as conn:
            claim = await claim_execution(conn, ref)
        return cls(database=database, ref=ref, jobs={job.step: job.job_id for job in claim.jobs})

    async def send(self, step: str, number: int = 1) -> JobId:
        """Commit the intent only: submitting."""
        job_id = self.jobs[step]
        job = JobRef(
            user_id=self.ref.user_id,
            execution_id=self.ref.execution_id,
            job_id=job_id,
            generation=self.ref.generation,
        )
        async with self.database.as_user(self.ref.user_id) as conn:
            assert await begin_send(
                conn, job, number, {"url": "https://provider.test"}, {"prompt": "x"}
            )
        return job_id

    async def submit(self, step: str, provider: str, provider_job_id: str) -> None:
        job_id = await self.send(step)
        handle = ProviderHandle(
            provider=provider, model="m", provider_job_id=ProviderJobId(provider_job_id)
        )
        async with self.database.as_user(self.ref.user_id) as conn:
            assert await mark_submitted(conn, job_id, 1, handle)

    async def settle(
        self, step: str, cost: int, state: JobState, failure: Failure | None = None
    ) -> None:
        async with self.database.as_user(self.ref.user_id) as conn:
            assert await mark_job_ended(
                conn, self.jobs[step], state, failure, expected=(JobState.SUBMITTED,)
            )
            await settle_charge(conn, self.jobs[step], NanoUsd(cost), CostBasis.REPORTED)

    async def release(self, step: str) -> None:
        async with self.database.as_user(self.ref.user_id) as conn:
            await release_charge(conn, self.jobs[step])

    async def end(
        self,
        status: ExecutionStatus,
        *,
        progress: int,
        result: dict[str, object] | None = None,
        error: dict[str, object] | None = None,
    ) -> None:
        async with self.database.as_user(self.ref.user_id) as conn:
            assert await lock_open_execution(conn, self.ref) is not None
            await mark_ended(
                conn, self.ref.execution_id, status, progress=progress, result=result, error=error
            )
