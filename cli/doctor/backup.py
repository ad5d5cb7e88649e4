"""Checks of backups: the age of WAL and of backup files, and the restore marker."""

import asyncio
import time
from pathlib import Path
from typing import Final

from cli.doctor.finding import Finding, fail, ok, warn
from core.domain.media.content import StorageRefusedError, StorageUnavailableError
from core.platform.settings.stores import StorageSettings
from core.store.database import Connection, Database
from core.store.files.object_storage import ObjectStore
from core.store.recovery.restore_marker import MarkerUnreadableError, get_position, read_marker

# The segment that is being written is archived when it is full, or after archive_timeout.
READ_ARCHIVER: Final = """
SELECT current_setting('archive_mode') AS mode, archived_count, failed_count,
       extract(epoch FROM now() - last_archived_time)::float8 AS archived_seconds,
       last_failed_time > coalesce(last_archived_time, '-infinity') AS fails,
       extract(epoch FROM now() - greatest(last_archived_time, pg_postmaster_start_time()))::float8 AS silent_seconds
FROM pg_stat_archiver
"""


async def check_wal(conn: Connection, *, max_seconds: float) -> Finding:
    """Check that WAL is archived. max_seconds: the most that a restore may lack."""
    check = "backup.wal"
    row = await conn.fetchrow(READ_ARCHIVER)
    assert row is not None  # noqa: S101 - the view has one row
    if row["mode"] == "off":
        return warn(
            check,
            "this server archives no WAL (archive_mode = off)",
            "archive WAL; or check the backups of your database host, and name files with --file",
        )
    if row["fails"]:
        text = f"archiving fails ({row['failed_count']} times so far)"
        return fail(check, text, "read the server's log, and correct archive_command")
    if row["archived_seconds"] is None or row["silent_seconds"] > max_seconds:
        age = "never" if row["archived_seconds"] is None else _ago(row["archived_seconds"])
        text = f"the last WAL segment was archived {age}"
        return fail(check, text, "set archive_timeout, and check archive_command")
    return ok(check, f"the last WAL segment was archived {_ago(row['archived_seconds'])}")


async def check_files(pattern: Path, *, max_seconds: float) -> Finding:
    """Check the newest file that a path or a glob pattern names."""
    check = "backup.file"
    newest = await asyncio.to_thread(_newest, pattern)
    if newest is None:
        return fail(check, f"no file matches {pattern}", "run a backup, or correct --file")
    path, age, size = newest
    text = f"{path.name} is {size} bytes and was written {_ago(age)}"
    if size == 0:
        return fail(check, text, "the backup is empty: run it again, and read its output")
    if age > max_seconds:
        return fail(check, text, f"older than {max_seconds / 3600:g} hours: run a backup")
    return ok(check, text)


def _newest(pattern: Path) -> tuple[Path, float, int] | None:
    """Return the newest file, its age in seconds and its size in bytes."""
    folder = pattern.parent
    files = [path for path in folder.glob(pattern.name) if path.is_file()] if pattern.name else []
    if not files:
        return None
    newest = max(files, key=lambda path: path.stat().st_mtime)
    state = newest.stat()
    return newest, time.time() - state.st_mtime, state.st_size


async def check_marker(database: Database, settings: StorageSettings) -> Finding:
    """Compare the database with its restore marker; the marker is read first, as by workers."""
    check, recover = "database.restore_marker", "run takeone-admin recover"
    try:
        async with ObjectStore.of(settings) as objects:
            marker = await read_marker(objects)
    except MarkerUnreadableError as error:
        return fail(check, str(error), recover)
    except (StorageUnavailableError, StorageRefusedError) as error:
        return fail(check, f"the restore marker cannot be read: {error}", "see storage.*")
    async with database.as_system() as conn:
        position = await get_position(conn)
    marked = marker.serial if marker is not None else 0
    if position.behind or position.serial < marked:
        return fail(
            check,
            f"restored from an older backup: latest send {position.serial}, marked {marked}",
            recover,
        )
    return ok(check, f"latest send {position.serial}, marked {marked}")


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s ago"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago"
