"""`takeone-admin backup-check`: WAL, backup files and the restore marker, on real servers."""

import os
from pathlib import Path

import pytest

from cli.doctor.backup import check_files, check_wal
from cli.doctor.finding import Level
from core.store.database import Database
from core.store.recovery.restore_marker import pause_behind
from tests.support.admin import run_process
from tests.support.servers import FreshDatabase, S3Server, TemporalServer
from tests.support.worker_process import worker_environment

DAY = 86_400.0


async def test_backup_file_must_be_young_and_not_empty(tmp_path: Path) -> None:
    pattern = tmp_path / "*.dump"
    assert (await check_files(pattern, max_seconds=DAY)).level is Level.FAIL
    old, new = tmp_path / "old.dump", tmp_path / "new.dump"
    old.write_bytes(b"backup")
    os.utime(old, (0, 0))
    assert (await check_files(pattern, max_seconds=DAY)).level is Level.FAIL
    new.touch()
    assert "0 bytes" in (await check_files(pattern, max_seconds=DAY)).text
    new.write_bytes(b"backup")
    assert (await check_files(pattern, max_seconds=DAY)).level is Level.OK


async def test_missing_wal_archive_warns(fresh_database: FreshDatabase) -> None:
    async with (
        Database.open(fresh_database.application_dsn, max_connections=1) as database,
        database.as_system() as conn,
    ):
        found = await check_wal(conn, max_seconds=DAY)
    assert (found.level, "archive_mode = off" in found.text) == (Level.WARN, True)


@pytest.mark.guarantee("G1")
async def test_command_fails_for_a_restored_database(
    fresh_database: FreshDatabase,
    temporal_server: TemporalServer,
    s3_server: S3Server,
    tmp_path: Path,
) -> None:
    environment = worker_environment(fresh_database, temporal_server, s3_server)
    (tmp_path / "daily.dump").write_bytes(b"backup")
    command = ("backup-check", "--file", str(tmp_path / "daily.dump"))
    dsn = fresh_database.application_dsn
    async with (
        Database.open(dsn, max_connections=1) as database,
        database.as_system() as conn,
    ):
        await pause_behind(conn)
    ran = await run_process(dsn, *command, more=environment, as_text=True)
    assert ran.code == 1, ran.err
    assert "OK    backup.file " in ran.out
    assert "FAIL  database.restore_marker  restored from an older backup" in ran.out
