"""Rows of an execution that makes a film of a bought video: video → merge."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.ids import AssetId, ExecutionId, JobId, UserId, derived_asset_id, new_execution_id
from core.domain.media.content import MediaKind
from core.domain.messages.executions import ExecutionRef
from core.domain.messages.jobs import JobRef
from core.domain.money import NanoUsd
from core.domain.plans import (
    MEDIA,
    OperationKind,
    Parameters,
    Plan,
    PlanType,
    Step,
    StepKind,
    StepOutput,
)
from core.store.database import Database
from core.store.executions.executions import (
    NewExecution,
    NewStep,
    claim_execution,
    insert_execution,
)
from core.store.files.assets import Asset
from tests.support.rows import VIDEO, VIDEO_MODEL, VIDEO_PRICE, VIDEO_SECOND, quote_at

FILM = "film"
MERGE: Mapping[str, object] = {"items": [{"media": {"step": VIDEO}}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedFilm:
    """An execution with its bought video and the film that is made of it."""

    user_id: UserId
    execution_id: ExecutionId
    video: JobRef
    film: JobRef

    @property
    def ref(self) -> ExecutionRef:
        return ExecutionRef(
            user_id=self.user_id,
            execution_id=self.execution_id,
            generation=1,
            type=PlanType.PLAN,
        )


def new_film(user_id: UserId, *, optional: bool = False) -> NewExecution:
    video = Step(
        name=VIDEO,
        kind=StepKind.VIDEO,
        provider="replicate",
        model=VIDEO_MODEL,
        deadline_seconds=300,
        usual_seconds=10,
    )
    film = Step(
        name=FILM,
        kind=OperationKind.MERGE,
        provider=MEDIA,
        model=OperationKind.MERGE,
        deadline_seconds=300,
        usual_seconds=10,
        needs=(VIDEO,),
        optional_needs=(VIDEO,) if optional else (),
    )
    free = quote_at(NanoUsd(0))
    return NewExecution(
        execution_id=new_execution_id(),
        user_id=user_id,
        plan=Plan(
            type=PlanType.PLAN,
            steps=(video, film),
            result_step=FILM,
            outputs={"raw": StepOutput(step=VIDEO)},
        ),
        steps=(
            NewStep(
                step=video,
                parameters=Parameters(values={"prompt": "a boat", "duration_seconds": 5}),
                quote=quote_at(VIDEO_PRICE, VIDEO_SECOND),
            ),
            NewStep(
                step=film,
                parameters=Parameters(
                    sources={"items/0/media": StepOutput(step=VIDEO)}, operation=MERGE
                ),
                quote=free,
            ),
        ),
        request={},
        metadata={},
        webhook_url=None,
        webhook_secret=None,
        deadline_seconds=3600,
    )


async def accept_film(database: Database, new: NewExecution) -> AcceptedFilm:
    """Insert the rows of an accepted and claimed execution."""
    ref = ExecutionRef(user_id=new.user_id, execution_id=new.execution_id, generation=1)
    async with database.as_user(new.user_id) as conn:
        await insert_execution(conn, new)
    async with database.as_user(new.user_id) as conn:
        claim = await claim_execution(conn, ref)
    jobs = {
        item.step: JobRef(
            user_id=new.user_id,
            execution_id=new.execution_id,
            job_id=item.job_id,
            generation=1,
        )
        for item in claim.jobs
    }
    return AcceptedFilm(
        user_id=new.user_id,
        execution_id=new.execution_id,
        video=jobs[VIDEO],
        film=jobs[FILM],
    )


def asset_of_job(ref: JobRef, number: int = 0, *, key: str | None = None) -> Asset:
    """Return the row of a stored video."""
    job_id: JobId = ref.job_id
    asset_id: AssetId = derived_asset_id(job_id, number)
    return Asset(
        asset_id=asset_id,
        job_id=job_id,
        output_number=number,
        execution_id=ref.execution_id,
        user_id=ref.user_id,
        kind=MediaKind.VIDEO,
        object_key=key or f"videos/{asset_id}.mp4",
        size_bytes=10,
        sha256="ab" * 32,
        content_type="video/mp4",
    )
