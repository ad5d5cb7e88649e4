"""The operator's command line as tests run it."""

import asyncio
import base64
import io
import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import typer

from cli.main import execute, parse
from cli.session import Session
from core.platform.settings.processes import AdminProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


def admin_environment(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode()}


def _with_json(arguments: tuple[str, ...]) -> list[str]:
    """Ask for JSON, which every command but `recover` can print."""
    return list(arguments) if "--help" in arguments else [*arguments, "--json"]


async def run_process(
    database_url: str,
    *arguments: str,
    more: Mapping[str, str] | None = None,
    as_text: bool = False,
) -> Ran:
    """Run the program as an operator does.

    more: additional environment variables.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *(arguments if as_text else _with_json(arguments)),
        env=admin_environment(database_url) | dict(more or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ran(code=process.returncode, out=out.decode(), err=err.decode())


async def run_admin(
    database_url: str,
    *arguments: str,
    more: Mapping[str, str] | None = None,
    as_text: bool = False,
) -> Ran:
    """Run a command in this process, which saves the second that a new one needs to start."""
    environment = admin_environment(database_url) | dict(more or {})
    settings = AdminProcess.model_validate(
        {name.lower(): text for name, text in environment.items()}
    )
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            command = parse(
                list(arguments) if as_text else _with_json(arguments), Session(lambda: settings)
            )
    except typer.TyperException as error:
        return Ran(code=error.exit_code, out="", err=f"{error.format_message()}\n")
    if isinstance(command, int):
        return Ran(code=command, out=printed.getvalue(), err="")
    code, text, is_result = await execute(command)
    out, err = (f"{text}\n", "") if is_result else ("", f"{text}\n")
    return Ran(code=code, out=out, err=err)
