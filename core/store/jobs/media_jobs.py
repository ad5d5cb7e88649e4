"""Jobs of media steps: they wait, then they complete with their files, or fail.

They have no send and no charge. Every change names the state that it expects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from core.domain.failures import Failure
from core.domain.ids import JobId, UserId
from core.domain.messages.jobs import JobReport, Output
from core.domain.states import JobState
from core.store.database import Connection
from core.store.executions.executions import failure_to_json
from core.store.files.assets import Asset, insert_asset
from core.store.files.user_assets import PLACE_LIFE, PLACE_MARGIN, TAKE_KEY
from core.store.jobs.reports import report_to_json

RESERVE_KEYS = """
INSERT INTO file_deletions (object_key, user_id, requested_at)
SELECT object_key, $2, now() + $3::interval FROM unnest($1::text[]) AS k (object_key)
ON CONFLICT (object_key) DO UPDATE SET requested_at = excluded.requested_at
"""
START_JOB = """
UPDATE jobs SET submitted_at = coalesce(submitted_at, now()), updated_at = now()
WHERE job_id = $1 AND state = 'waiting'
"""
# For a run that finds the files stored: what the completed job will have.
NOTE_RUN = """
UPDATE jobs SET warnings = $2, processor_ms = $3, updated_at = now() WHERE job_id = $1 AND state = 'waiting'
"""
GET_NOTES = """
SELECT coalesce(warnings, '[]') AS warnings, coalesce(processor_ms, 0) AS processor_ms FROM jobs WHERE job_id = $1
"""
COMPLETE_JOB = """
UPDATE jobs
SET state = 'completed', report = $2, warnings = $3, reused_from = $4, processor_ms = $5, failure = NULL,
    submitted_at = coalesce(submitted_at, now()), ended_at = now(), updated_at = now()
WHERE job_id = $1 AND state = 'waiting'
RETURNING job_id
"""
FAIL_JOB = """
UPDATE jobs SET state = 'failed', failure = $2, processor_ms = $3, ended_at = now(), updated_at = now()
WHERE job_id = $1 AND state = 'waiting'
RETURNING job_id
"""
COUNT_USAGE = """
INSERT INTO usage_media AS u (user_id, day, jobs, processor_ms)
VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 1, $2)
ON CONFLICT (user_id, day) DO UPDATE
SET jobs = u.jobs + excluded.jobs, processor_ms = u.processor_ms + excluded.processor_ms
"""
GET_WARNINGS = "SELECT warnings FROM jobs WHERE job_id = $1"
RESERVED_FOR: Final[timedelta] = PLACE_LIFE
"""How long storing and recording the files of one job may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFiles:
    """What a media job has made, or copied from the job that made the same."""

    assets: Sequence[Asset]
    warnings: Sequence[str] = ()
    reused_from: JobId | None = None
    processor_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNotes:
    """What a run has found out besides its files. warnings: sentences for users."""

    warnings: Sequence[str] = ()
    processor_ms: int = 0


class FilesExpiredError(Exception):
    """Storing took so long that the files are deleted by now. Roll back and store them again."""


async def reserve_keys(conn: Connection, user_id: UserId, object_keys: Sequence[str]) -> None:
    """Have files deleted unless assets with their keys are recorded within RESERVED_FOR.

    Repeating is safe: it begins the time again.
    """
    await conn.execute(RESERVE_KEYS, object_keys, user_id, RESERVED_FOR)


async def record_reserved(conn: Connection, assets: Sequence[Asset]) -> None:
    """Record files whose keys are reserved. Raises FilesExpiredError."""
    for asset in assets:
        if await conn.fetchval(TAKE_KEY, asset.object_key, PLACE_MARGIN) is None:
            raise FilesExpiredError(asset.object_key)
        await insert_asset(conn, asset)


async def mark_media_started(conn: Connection, job_id: JobId) -> None:
    """Note the start of a job's first try, from which its progress is computed."""
    await conn.execute(START_JOB, job_id)


async def note_run(conn: Connection, job_id: JobId, notes: RunNotes) -> None:
    """Note what a run has found out before its files are stored. A job that has ended stays."""
    await conn.execute(NOTE_RUN, job_id, list(notes.warnings) or None, notes.processor_ms)


async def get_notes(conn: Connection, job_id: JobId) -> RunNotes:
    """Return the notes of a job's last run; nothing after a restore of an older backup."""
    row = await conn.fetchrow(GET_NOTES, job_id)
    return RunNotes(**dict(row)) if row is not None else RunNotes()


async def complete_media_job(
    conn: Connection, user_id: UserId, job_id: JobId, made: MadeFiles
) -> bool:
    """Record the files of a job, and its end, in the caller's transaction.

    Return False if the job has ended meanwhile; then nothing is written. Raises FilesExpiredError.
    """
    report = JobReport(
        state=JobState.COMPLETED,
        # Without an address, other steps use the stored files.
        outputs=tuple(Output(url="", kind=asset.kind) for asset in made.assets),
    )
    completed = await conn.fetchval(
        COMPLETE_JOB,
        job_id,
        report_to_json(report),
        list(made.warnings) or None,
        made.reused_from,
        made.processor_ms,
    )
    if completed is None:
        return False
    await record_reserved(conn, made.assets)
    await conn.execute(COUNT_USAGE, user_id, made.processor_ms)
    return True


async def fail_media_job(
    conn: Connection, user_id: UserId, job_id: JobId, failure: Failure, *, processor_ms: int = 0
) -> bool:
    """End a job without files. Return False if it has ended before: repeating is safe."""
    if await conn.fetchval(FAIL_JOB, job_id, failure_to_json(failure), processor_ms) is None:
        return False
    await conn.execute(COUNT_USAGE, user_id, processor_ms)
    return True


async def get_warnings(conn: Connection, job_id: JobId) -> list[str]:
    """Return the sentences about what a job has made."""
    return await conn.fetchval(GET_WARNINGS, job_id) or []
