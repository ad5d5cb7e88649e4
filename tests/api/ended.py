"""Executions that have ended, with their jobs in any state that a job can be left in."""

from dataclasses import dataclass, replace

from activities.executions import ExecutionActivities
from core.domain.failures import Failure, FailureCode
from core.domain.ids import (
    AssetId,
    JobId,
    ProviderJobId,
    UserId,
    new_asset_id,
    new_charge_id,
    new_job_id,
)
from core.domain.media.content import MediaKind
from core.domain.messages.executions import FinishInput
from core.domain.messages.jobs import JobReport, Output
from core.domain.money import NanoUsd
from core.domain.states import CostBasis, ExecutionStatus, JobState
from core.store.database import Connection, Database
from core.store.executions.executions import NewExecution, failure_to_json
from core.store.files.assets import Asset, insert_asset
from core.store.jobs.reports import report_to_json
from core.store.money.budget_counters import move_budget
from core.store.money.charges import release_charge
from core.store.money.settlement import settle_charge
from core.webhooks.asset_links import AssetLinks
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import Accepted, accept, new_execution

COST = NanoUsd(2_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """The state that a job was left in.

    known: the provider's id is stored. cost: as billed; None while the bill is open. released: the
    job was certainly not bought, so its hold was released. url: of its file; by default, the file
    server returns a text instead of the file.
    """

    state: JobState
    failure: FailureCode | None = None
    sent: bool = True
    known: bool = False
    cancel_sent: bool = False
    report: JobState | None = None
    cost: NanoUsd | None = None
    released: bool = False
    stored: bool = False
    url: str = "data:,gone"


NEVER_SENT = Left(state=JobState.WAITING, sent=False)
STORED = Left(
    state=JobState.COMPLETED, known=True, report=JobState.COMPLETED, cost=COST, stored=True
)
NOT_STORED = replace(STORED, stored=False)


def _activities(database: Database) -> ExecutionActivities:
    links = AssetLinks(public_base_url="http://api.test", cdn_base_url=None)
    return ExecutionActivities(client=FakeTemporal().client(), database=database, links=links)


async def end(
    database: Database,
    user_id: UserId,
    video: Left,
    *,
    image: Left = STORED,
    status: ExecutionStatus = ExecutionStatus.FAILED,
    error: FailureCode = FailureCode.TERMINATED,
    new: NewExecution | None = None,
) -> Accepted:
    """Insert an ended execution of image → video with its jobs left in these states.

    new: another one, whose steps have these names.
    """
    new = new or new_execution(user_id, webhook_url="https://example.com/hook")
    accepted = await accept(database, new)
    await leave(database, accepted, image=image, video=video)
    order = FinishInput(execution=accepted.ref, status=status, failure=Failure.of(error))
    await _activities(database).finish(order)
    return accepted


async def leave(database: Database, accepted: Accepted, *, image: Left, video: Left) -> None:
    async with database.as_system() as conn:
        await _leave(conn, accepted.image.job_id, image, MediaKind.IMAGE)
        await _leave(conn, accepted.video.job_id, video, MediaKind.VIDEO)


LEAVE = """
UPDATE jobs
SET state = $2, failure = $3, send_number = $4, provider_job_id = $5, report = $6,
    submitted_at = CASE WHEN $5::text IS NOT NULL THEN now() END,
    cancel_sent_at = CASE WHEN $7 THEN now() END, deadline_at = CASE WHEN $4 > 0 THEN now() END,
    ended_at = CASE WHEN $2 IN ('completed', 'failed', 'cancelled') THEN now() END
WHERE job_id = $1
"""


async def _leave(conn: Connection, job_id: JobId, left: Left, kind: MediaKind) -> None:
    report = None
    if left.report is not None:
        outputs = (Output(url=left.url, kind=kind),) if left.report is JobState.COMPLETED else ()
        report = report_to_json(JobReport(state=left.report, outputs=outputs))
    failure = failure_to_json(Failure.of(left.failure)) if left.failure is not None else None
    provider_job_id = ProviderJobId(f"provider-{job_id}") if left.known else None
    sends = 1 if left.sent else 0
    await conn.execute(
        LEAVE, job_id, left.state, failure, sends, provider_job_id, report, left.cancel_sent
    )
    if left.sent:
        await conn.execute(
            "INSERT INTO sends (job_id, number, user_id, request, inputs)"
            " SELECT job_id, 1, user_id, '{}', '{}' FROM jobs WHERE job_id = $1",
            job_id,
        )
    if left.released:
        move = await release_charge(conn, job_id)
        assert move is not None
        await move_budget(conn, move)
    elif left.cost is not None:
        await settle_charge(conn, job_id, left.cost, CostBasis.REPORTED)
    if left.stored:
        await _store(conn, job_id, kind)


async def _store(conn: Connection, job_id: JobId, kind: MediaKind) -> None:
    row = await conn.fetchrow("SELECT execution_id, user_id FROM jobs WHERE job_id = $1", job_id)
    assert row is not None
    asset = Asset(
        asset_id=AssetId(new_asset_id()),
        job_id=job_id,
        output_number=0,
        execution_id=row["execution_id"],
        user_id=row["user_id"],
        kind=kind,
        object_key=f"{kind}s/{job_id}",
        size_bytes=1,
        sha256="0" * 64,
        content_type="application/octet-stream",
    )
    await insert_asset(conn, asset)


async def add_orphan(database: Database, accepted: Accepted, left: Left) -> JobId:
    """Insert an orphan: an earlier send of the video that turned out to be accepted."""
    job_id = new_job_id()
    async with database.as_system() as conn:
        await conn.execute(
            "INSERT INTO jobs (job_id, execution_id, step_name, user_id, generation, provider, model, supersedes,"
            " orphan) SELECT $2, execution_id, step_name, user_id, generation, provider, model, job_id, true"
            " FROM jobs WHERE job_id = $1",
            accepted.video.job_id,
            job_id,
        )
        await conn.execute(
            "INSERT INTO charges (charge_id, job_id, execution_id, user_id, provider, model, held_nano_usd,"
            " price, budget_month) SELECT $2, $3, execution_id, user_id, provider, model, 0, price, budget_month"
            " FROM charges WHERE job_id = $1",
            accepted.video.job_id,
            new_charge_id(),
            job_id,
        )
        await _leave(conn, job_id, left, MediaKind.VIDEO)
    return job_id


async def finish_again(
    database: Database, accepted: Accepted, generation: int, *, video: Left, job_id: JobId
) -> None:
    """End the retried execution as failed, with its new video job left in this state."""
    async with database.as_system() as conn:
        await _leave(conn, job_id, video, MediaKind.VIDEO)
    order = FinishInput(
        execution=replace(accepted.ref, generation=generation),
        status=ExecutionStatus.FAILED,
        failure=Failure.of(FailureCode.PROVIDER_FAILED),
    )
    await _activities(database).finish(order)
