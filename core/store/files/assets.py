"""Assets: the rows of files in object storage, one per output of a job."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from core.domain.ids import AssetId, ExecutionId, JobId, UserId
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.store.database import Connection

POSTER_NUMBER: Final = 1000
"""The output number of a poster: after every file that its job itself made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A stored file. output_number: its position among the job's outputs, from 0."""

    asset_id: AssetId
    job_id: JobId
    output_number: int
    execution_id: ExecutionId
    user_id: UserId
    kind: MediaKind
    object_key: str
    size_bytes: int
    sha256: str
    content_type: str
    media: MediaFacts | None = None


# The row lock waits for a deletion in progress. A concurrent repeat may violate any of the unique
# keys first; all identify the same file.
INSERT_ASSET = """
WITH execution AS (
    SELECT deleted_at IS NOT NULL AS deleted FROM executions WHERE execution_id = $4 FOR SHARE
), queued AS (
    INSERT INTO file_deletions (object_key, user_id, execution_id)
    SELECT $7, $5, $4 FROM execution WHERE deleted ON CONFLICT DO NOTHING
)
INSERT INTO assets
    (asset_id, job_id, output_number, execution_id, user_id, kind, object_key, size_bytes, sha256, content_type, media)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM execution WHERE NOT deleted
ON CONFLICT DO NOTHING
RETURNING asset_id
"""


async def insert_asset(conn: Connection, asset: Asset) -> bool:
    """Record a stored file. Repeating is safe: the first row of a job's output stays.

    Return False if there is one, and if the execution was deleted while a stopped worker stored the
    file: then the file is queued for its deletion.
    """
    inserted = await conn.fetchval(
        INSERT_ASSET,
        asset.asset_id,
        asset.job_id,
        asset.output_number,
        asset.execution_id,
        asset.user_id,
        asset.kind,
        asset.object_key,
        asset.size_bytes,
        asset.sha256,
        asset.content_type,
        asdict(asset.media) if asset.media else None,
    )
    return inserted is not None


LIST_JOB_ASSETS = """
SELECT asset_id, job_id, output_number, execution_id, user_id, kind, object_key, size_bytes, sha256, content_type, media
FROM assets WHERE job_id = ANY($1::text[]) ORDER BY job_id, output_number
"""


async def list_job_assets(conn: Connection, *job_ids: JobId) -> list[Asset]:
    """List the stored files of these jobs, those of one job in the order of its outputs."""
    return [_asset(dict(row)) for row in await conn.fetch(LIST_JOB_ASSETS, list(job_ids))]


async def list_made_assets(conn: Connection, job_id: JobId) -> list[Asset]:
    """List the stored files that a job itself made, in order: without its poster."""
    assets = await list_job_assets(conn, job_id)
    return [asset for asset in assets if asset.output_number < POSTER_NUMBER]


def _asset(row: dict[str, Any]) -> Asset:
    kind, media = MediaKind(row.pop("kind")), row.pop("media")
    return Asset(**row, kind=kind, media=MediaFacts(**media) if media else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAsset:
    """A stored file with its step. is_result: the step produces the execution's result."""

    step: str
    is_result: bool
    asset: Asset


# Only the latest job of each step counts: earlier jobs may belong to another version of the plan.
# The files of an approval are those of the job that was chosen.
LIST_EXECUTION_ASSETS = """
SELECT j.step_name, j.step_name = e.plan ->> 'result_step' AS is_result,
       a.asset_id, a.job_id, a.output_number, a.execution_id, a.user_id, a.kind, a.object_key,
       a.size_bytes, a.sha256, a.content_type, a.media
FROM jobs AS j
JOIN steps AS s ON s.execution_id = j.execution_id AND s.name = j.step_name
JOIN assets AS a ON a.job_id = CASE WHEN s.kind = 'approval' THEN j.reused_from ELSE j.job_id END
JOIN executions AS e ON e.execution_id = j.execution_id
WHERE j.execution_id = $1 AND NOT j.orphan
  AND NOT EXISTS (
      SELECT FROM jobs AS later
      WHERE later.execution_id = j.execution_id AND later.step_name = j.step_name AND NOT later.orphan
        AND (later.generation, later.job_id) > (j.generation, j.job_id)
  )
ORDER BY s.position, a.output_number
"""


async def list_execution_assets(conn: Connection, execution_id: ExecutionId) -> list[StepAsset]:
    """List the stored files of an execution's latest jobs, in the order of the plan's steps.

    A chosen file is listed twice: of its own step, and of the approval step.
    """
    assets: list[StepAsset] = []
    for row in await conn.fetch(LIST_EXECUTION_ASSETS, execution_id):
        plain = dict(row)
        assets.append(
            StepAsset(
                step=plain.pop("step_name"), is_result=plain.pop("is_result"), asset=_asset(plain)
            )
        )
    return assets
