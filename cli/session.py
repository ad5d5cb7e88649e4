"""What a command works with: settings, database, sealer; and the exit code of each failure."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from functools import cached_property
from typing import cast

import asyncpg
import typer

from core.platform.crypto.sealing import Sealer
from core.platform.observability.logging import configure_logging
from core.platform.settings.load import load, secret_values
from core.platform.settings.processes import AdminProcess
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.login import lasting_refusal
from core.store.operator import RefusedError


class ExitCode(IntEnum):
    """Exit codes of `takeone-admin`."""

    DONE = 0
    FAILED = 1
    """No such row, a check with findings, unfinished work, or an unavailable server."""
    REFUSED = 2
    """A usage error, or a change that the present state does not allow. Nothing was changed."""
    MUST_RECOVER = 3
    """The database was restored from an older backup: run `takeone-admin recover` first."""


class FailedError(Exception):
    """The command could not be carried out. Its text is one line."""


class MustRecoverError(Exception):
    """The command is blocked until `takeone-admin recover` has run."""


class Session:
    """The settings and clients of one command, opened when the command first needs them."""

    def __init__(self, load_settings: Callable[[], AdminProcess]) -> None:
        self._load_settings = load_settings

    @cached_property
    def settings(self) -> AdminProcess:
        return self._load_settings()

    @cached_property
    def sealer(self) -> Sealer:
        return Sealer(self.settings.encryption_key_bytes())

    @asynccontextmanager
    async def database(self) -> AsyncGenerator[Database]:
        url = self.settings.database_url.get_secret_value()
        async with Database.open(url, max_connections=1, generic_plans=False) as database:
            yield database


def load_settings() -> AdminProcess:
    """Read the settings and configure logging. Exits with code 2 if a setting is wrong.

    A command's result is its output, so the log is quiet unless LOG_LEVEL is set.
    """
    settings = load(AdminProcess)
    level = settings.log_level if "log_level" in settings.model_fields_set else "CRITICAL"
    configure_logging(level, settings.log_format, secrets=secret_values(settings))
    return settings


def session_of(context: typer.Context) -> Session:
    return cast("Session", context.obj)


@asynccontextmanager
async def transaction(
    context: typer.Context, *, dry_run: bool = False
) -> AsyncGenerator[Connection]:
    """Open the one transaction of a command, with access to the rows of every user.

    dry_run: roll it back at its end, so that the command reports what it would do.
    """
    async with session_of(context).database() as database:
        opened = database.rehearsing() if dry_run else database.as_system()
        async with opened as conn:
            yield conn


@asynccontextmanager
async def snapshot(context: typer.Context) -> AsyncGenerator[Connection]:
    """Open a read-only transaction in which every query sees the same state."""
    async with session_of(context).database() as database, database.reading_all() as conn:
        yield conn


def explain(error: Exception) -> tuple[ExitCode, str]:
    """Return the exit code and one line for an expected failure; raise any other again."""
    if isinstance(error, LookupError):
        return ExitCode.FAILED, str(error.args[0])
    if isinstance(error, FailedError):
        return ExitCode.FAILED, str(error)
    if isinstance(error, RefusedError):
        return ExitCode.REFUSED, str(error)
    if isinstance(error, MustRecoverError):
        return ExitCode.MUST_RECOVER, str(error)
    if isinstance(error, asyncpg.UndefinedTableError):
        return ExitCode.FAILED, "the database has no tables yet: run python -m core.store.migrate"
    if (reason := lasting_refusal(error)) is not None:
        return ExitCode.REFUSED, f"DATABASE_URL: {reason}"
    if isinstance(error, (*DATABASE_DOWN, asyncpg.PostgresError)):
        return ExitCode.FAILED, f"the database cannot be used: {error or type(error).__name__}"
    raise error
