"""Errors at start that waiting cannot cure: exit code 2 and one line without parts of secrets."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from core.platform.settings.postgres_url import checked_postgres_url
from core.store.database import Database
from core.store.login import LoginRefusedError
from tests.api.processes import api_environment
from tests.support.servers import FreshDatabase

ROOT = Path(__file__).parents[2]
PROGRAMS = ("-m api", "worker.py", "-m core.store.migrate", "-m cli users list")


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
async def test_every_process_refuses_an_unescaped_password_in_one_line() -> None:
    """All programs at once, because most of the time is their start."""
    address = "postgresql://app:plan/ted@127.0.0.1:1/x"
    ends = await asyncio.gather(*(end_of(program, DATABASE_URL=address) for program in PROGRAMS))
    for program, (code, text) in zip(PROGRAMS, ends, strict=True):
        assert code == 2, (program, text)
        assert text.startswith("DATABASE_URL: "), program
        assert "%2F" in text
        assert "\n" not in text, program
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
