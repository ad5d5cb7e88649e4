"""Errors at start that waiting cannot cure: exit code 2 and one line without parts of secrets."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

import api.__main__
import cli.main
import core.store.migrate
import worker
from core.platform.settings.postgres_url import checked_postgres_url
from core.store.database import Database
from core.store.login import LoginRefusedError
from tests.api.processes import api_environment
from tests.support.servers import FreshDatabase

ROOT = Path(__file__).parents[2]
PROGRAMS: Final[Mapping[str, Callable[[], int]]] = {
    "-m api": api.__main__.main,
    "worker.py": worker.main,
    "-m core.store.migrate": core.store.migrate.main,
    "-m cli users list": cli.main.main,
}


async def end_of(program: str, **more: str) -> tuple[int | None, str]:
    """Run a process until it ends. Return its exit code and its lines that are no log events."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program.split(),
        cwd=ROOT,
        env=api_environment("postgresql://app@127.0.0.1:1/x", "127.0.0.1:9", API_PORT="0") | more,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    lines = [line for line in out.decode().splitlines() if not line.startswith("{")]
    return process.returncode, "\n".join(lines)


@pytest.mark.guarantee("G6")
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_process_refuses_an_unescaped_password_in_one_line(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process: reading the settings is the first thing that a program does."""
    monkeypatch.setattr("sys.argv", program.removeprefix("-m ").split())
    for name, text in api_environment("postgresql://app:plan/ted@127.0.0.1:1/x", "").items():
        monkeypatch.setenv(name, text)
    code: object = None
    try:
        code = PROGRAMS[program]()
    except SystemExit as ended:
        code = ended.code
    text = capsys.readouterr().err.removesuffix("\n")
    assert code == 2, text
    assert text.startswith("DATABASE_URL: ")
    assert "%2F" in text
    assert "\n" not in text
    assert not {"plan", "ted"} & set(text.replace("/", " ").split())


async def test_every_process_ends_if_the_database_does_not_exist(
    fresh_database: FreshDatabase,
) -> None:
    def other(dsn: str) -> str:
        return urlsplit(dsn)._replace(path="/planted").geturl()

    more = {
        "DATABASE_URL": other(fresh_database.application_dsn),
        "DATABASE_OWNER_URL": other(fresh_database.owner_dsn),
    }
    ends = await asyncio.gather(*(end_of(program, **more) for program in PROGRAMS))
    for program, (code, text) in zip(PROGRAMS, ends, strict=True):
        variable = "DATABASE_OWNER_URL" if "migrate" in program else "DATABASE_URL"
        assert (code, text) == (
            2,
            f"{variable}: the database does not exist. Create it, or correct its name",
        ), program


async def test_worker_ends_if_a_temporal_setting_is_wrong(
    fresh_database: FreshDatabase, tmp_path: Path
) -> None:
    (tmp_path / "profile.toml").write_text("no = [toml")
    code, text = await end_of(
        "worker.py",
        DATABASE_URL=fresh_database.application_dsn,
        TEMPORAL_CONFIG_FILE=str(tmp_path / "profile.toml"),
        SDK_METRICS_PORT="0",
    )
    assert code == 2, text
    assert text.startswith("TEMPORAL_CONFIG_FILE")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("channel_binding=require", "no TLS"),
        ("sslmode=require", "no TLS"),
        ("options=-c%20planted%3D1", "does not accept a parameter"),
    ],
)
async def test_address_that_can_never_work_is_refused_at_start(
    fresh_database: FreshDatabase, query: str, said: str
) -> None:
    plain = urlsplit(fresh_database.application_dsn)._replace(query=query).geturl()
    async with Database.open(checked_postgres_url(plain), max_connections=1) as database:
        with pytest.raises(LoginRefusedError, match=said) as raised:
            await database.refuse_unsafe_login()
    assert "planted" not in str(raised.value)


async def test_unknown_user_is_refused_at_start(fresh_database: FreshDatabase) -> None:
    parts = urlsplit(fresh_database.application_dsn)
    dsn = parts._replace(netloc=f"planted:x@{parts.netloc.rpartition('@')[2]}").geturl()
    async with Database.open(dsn, max_connections=1) as database:
        with pytest.raises(LoginRefusedError, match="refused the login") as raised:
            await database.refuse_unsafe_login()
    assert "planted" not in str(raised.value)
