"""An execution whose drafts are bought and wait for a decision, without a worker."""

from dataclasses import dataclass
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.approvals import ApprovalActivities
from activities.executions import ExecutionActivities
from core.domain.failures import Failure
from core.domain.ids import ExecutionId, JobId, derived_asset_id
from core.domain.media.content import MediaKind
from core.domain.messages.approvals import ApprovalOrder, ApprovalResult
from core.domain.messages.executions import ExecutionRef, FinishInput
from core.domain.messages.jobs import JobRef, JobReport, Output
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.store.executions.executions import claim_execution, failure_to_json
from core.store.executions.limits.concurrency_counters import ConcurrencyLimits
from core.store.files.assets import Asset, insert_asset
from core.store.jobs.reports import report_to_json
from core.store.money.budget_counters import move_budget
from core.store.money.charges import release_charge
from core.store.money.settlement import settle_charge
from core.webhooks.asset_links import AssetLinks
from tests.api.conftest import Api, TestUser
from tests.support.fake_temporal import FakeTemporal

LINKS = AssetLinks(public_base_url="http://api.test", cdn_base_url=None)
COST = NanoUsd(2_000_000)
DRAFT: dict[str, Any] = {
    "name": "draft",
    "kind": "image",
    "model": "fal-ai/flux/schnell",
    "count": 2,
    "onFailure": "continue",
    "params": {"prompt": "a kite"},
}
CHOOSE: dict[str, Any] = {
    "name": "choose",
    "kind": "approval",
    "params": {"options": [{"step": "draft"}], "expiresAfterSeconds": 3600},
}
CLIP: dict[str, Any] = {
    "name": "clip",
    "kind": "video",
    "params": {"prompt": "it dances", "image": {"step": "choose"}, "duration": 3},
}
BODY: dict[str, Any] = {
    "plan": {
        "version": 1,
        "steps": [DRAFT, CHOOSE, CLIP],
        "result": "clip",
        "outputs": {"chosen": {"step": "choose"}},
    }
}


@dataclass(slots=True, kw_only=True)
class Order:
    """A running execution as its workflow leaves it."""

    api: Api
    user: TestUser
    execution_id: ExecutionId
    temporal: FakeTemporal
    limits: ConcurrencyLimits

    @property
    def path(self) -> str:
        return f"/api/executions/{self.execution_id}"

    async def seen(self) -> dict[str, Any]:
        answer = await self.user.http.get(self.path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def decide(self, **body: Any) -> tuple[int, dict[str, Any]]:
        answer = await self.user.http.post(f"{self.path}/approve", json=body)
        return answer.status_code, answer.json()

    async def claim(self) -> None:
        ref = ExecutionRef(
            user_id=self.user.user_id,
            execution_id=self.execution_id,
            generation=(await self.seen())["generation"],
        )
        async with self.api.database.as_user(self.user.user_id) as conn:
            await claim_execution(conn, ref, self.limits)

    async def job(self, step: str) -> dict[str, Any]:
        """Return the latest job of a step."""
        return [job for job in (await self.seen())["jobs"] if job["step"] == step][-1]

    async def buy(self, step: str, failure: Failure | None = None) -> None:
        """Complete a paid step, with its file in our storage, or let it fail at no cost."""
        job_id = JobId((await self.job(step))["id"])
        report = JobReport(
            state=JobState.COMPLETED, outputs=(Output(url="data:,", kind=MediaKind.IMAGE),)
        )
        async with self.api.database.as_user(self.user.user_id) as conn:
            await conn.execute(
                "UPDATE jobs SET state = $2, report = $3, failure = $4, ended_at = now(),"
                " send_number = 1, provider_job_id = $5 WHERE job_id = $1",
                job_id,
                "completed" if failure is None else "failed",
                report_to_json(report) if failure is None else None,
                failure_to_json(failure),
                f"p-{job_id}" if failure is None else None,
            )
            if failure is None:
                await settle_charge(conn, job_id, COST, CostBasis.COMPUTED)
                await insert_asset(conn, self.file(job_id))
            elif (move := await release_charge(conn, job_id)) is not None:
                await move_budget(conn, move)

    def file(self, job_id: JobId) -> Asset:
        return Asset(
            asset_id=derived_asset_id(job_id, 0),
            job_id=job_id,
            output_number=0,
            execution_id=self.execution_id,
            user_id=self.user.user_id,
            kind=MediaKind.IMAGE,
            object_key=f"images/{job_id}",
            size_bytes=7,
            sha256="ab" * 32,
            content_type="image/png",
        )

    async def look(self, step: str = "choose", *, is_idle: bool = True) -> ApprovalResult:
        """Look at the approval as the workflow does."""
        job = await self.job(step)
        activities = ApprovalActivities.of(self._executions())
        ref = JobRef(
            user_id=self.user.user_id,
            execution_id=self.execution_id,
            job_id=JobId(job["id"]),
            generation=(await self.seen())["generation"],
        )
        order = ApprovalOrder(job=ref, is_idle=is_idle)
        return await ActivityEnvironment().run(activities.look, order)

    async def end(self, status: ExecutionStatus, failure: Failure) -> None:
        ref = ExecutionRef(
            user_id=self.user.user_id,
            execution_id=self.execution_id,
            generation=(await self.seen())["generation"],
        )
        order = FinishInput(execution=ref, status=status, failure=failure)
        await ActivityEnvironment().run(self._executions().finish, order)

    def _executions(self) -> ExecutionActivities:
        return ExecutionActivities(
            client=self.temporal.client(),
            database=self.api.database,
            links=LINKS,
            limits=self.limits,
        )

    async def running(self) -> int:
        """Return how many slots the user's executions have."""
        async with self.api.database.as_user(self.user.user_id) as conn:
            return await conn.fetchval("SELECT running_executions FROM concurrency_counters")


async def ordered(api: Api, user: TestUser, *, bought: bool = True, **more: Any) -> Order:
    """Accept and claim a plan with two drafts. bought: both are completed."""
    answer = await user.http.post("/api/executions", json={**BODY, **more})
    assert answer.status_code == 202, answer.text
    order = Order(
        api=api,
        user=user,
        execution_id=ExecutionId(answer.json()["executionId"]),
        temporal=FakeTemporal(),
        limits=ConcurrencyLimits(running_executions=1),
    )
    await order.claim()
    if bought:
        await order.buy("draft-1")
        await order.buy("draft-2")
    return order
