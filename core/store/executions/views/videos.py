"""Videos: the executions of type generate-video, with what was ordered, listed in both orders."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.domain.ids import AssetId, ExecutionId, UserId
from core.domain.plans import Parameters, parameters_from_json
from core.store.database import Connection
from core.store.executions.views.status import ExecutionStatusRecord, read_executions


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoStep:
    """A step of a video's plan. usual_seconds: how long it usually takes."""

    provider: str
    model: str
    parameters: Parameters
    usual_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoRecord:
    """An execution that makes one video. prompt: as it was ordered. steps: by their names."""

    execution: ExecutionStatusRecord
    prompt: str
    ended_at: datetime | None
    steps: Mapping[str, VideoStep]


LIST_ORDERED = """
SELECT e.execution_id, e.request ->> 'prompt' AS prompt, e.ended_at,
       (SELECT jsonb_object_agg(s.name, jsonb_build_object(
            'provider', s.provider, 'model', s.model, 'parameters', s.parameters, 'usual_seconds', s.usual_seconds))
        FROM steps AS s WHERE s.execution_id = e.execution_id) AS steps
FROM executions AS e
WHERE e.execution_id = ANY($1::text[]) AND e.user_id = $2 AND e.type = 'generate-video' AND e.deleted_at IS NULL
"""


async def find_video(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> VideoRecord | None:
    """Return a video. None: there is no such execution of the user, or it makes something else."""
    videos = await _read(conn, user_id, [execution_id])
    return videos[0] if videos else None


HAS_VIDEO = """
SELECT EXISTS (SELECT FROM executions WHERE execution_id = $1 AND user_id = $2 AND type = 'generate-video')
"""


async def has_video(conn: Connection, user_id: UserId, execution_id: ExecutionId) -> bool:
    """Return whether a video of the user has this id, or had it before it was deleted."""
    return bool(await conn.fetchval(HAS_VIDEO, execution_id, user_id))


# The picture that the video was made from, else its poster: the order of the steps.
FIND_THUMBNAIL = """
SELECT a.asset_id FROM assets AS a
JOIN jobs AS j ON j.job_id = a.job_id
JOIN steps AS s ON s.execution_id = j.execution_id AND s.name = j.step_name
WHERE a.execution_id = $1 AND a.kind = 'image' AND NOT j.orphan
ORDER BY s.position, j.generation DESC, j.job_id DESC, a.output_number LIMIT 1
"""


async def find_thumbnail(conn: Connection, execution_id: ExecutionId) -> AssetId | None:
    """Return the first picture of a video."""
    return await conn.fetchval(FIND_THUMBNAIL, execution_id)


# Only this index has the ids in this collation. A video that is deleted is in no list.
LIST_NEWEST = """
SELECT execution_id FROM executions
WHERE user_id = $1 AND type = 'generate-video' AND deleted_at IS NULL
  AND ($2::text IS NULL OR execution_id COLLATE "POSIX" < $2)
ORDER BY execution_id COLLATE "POSIX" DESC LIMIT $3
"""
LIST_OLDEST = """
SELECT execution_id FROM executions
WHERE user_id = $1 AND type = 'generate-video' AND deleted_at IS NULL
  AND ($2::text IS NULL OR execution_id COLLATE "POSIX" > $2)
ORDER BY execution_id COLLATE "POSIX" LIMIT $3
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoPage:
    """A page of videos. has_more: another page follows."""

    data: Sequence[VideoRecord]
    has_more: bool


async def list_videos(
    conn: Connection,
    user_id: UserId,
    *,
    after: ExecutionId | None,
    limit: int,
    newest_first: bool = True,
) -> VideoPage:
    """List a user's videos. after: the last one of the previous page."""
    query = LIST_NEWEST if newest_first else LIST_OLDEST
    rows = await conn.fetch(query, user_id, after, limit + 1)
    ids = [ExecutionId(row["execution_id"]) for row in rows]
    records = {
        video.execution.execution_id: video for video in await _read(conn, user_id, ids[:limit])
    }
    return VideoPage(data=[records[each] for each in ids[:limit]], has_more=len(ids) > limit)


async def _read(
    conn: Connection, user_id: UserId, execution_ids: Sequence[ExecutionId]
) -> list[VideoRecord]:
    ordered = {
        row["execution_id"]: row for row in await conn.fetch(LIST_ORDERED, execution_ids, user_id)
    }
    return [
        VideoRecord(
            execution=execution,
            prompt=row["prompt"] or "",
            ended_at=row["ended_at"],
            steps=_steps(row["steps"]),
        )
        for execution in await read_executions(conn, user_id, list(ordered))
        if (row := ordered[execution.execution_id])
    ]


def _steps(plain: Mapping[str, Any]) -> dict[str, VideoStep]:
    return {name: _step(each) for name, each in plain.items()}


def _step(plain: Mapping[str, Any]) -> VideoStep:
    return VideoStep(
        provider=plain["provider"],
        model=plain["model"],
        parameters=parameters_from_json(plain["parameters"]),
        usual_seconds=plain["usual_seconds"],
    )
