"""The operator's command line as tests run it."""

import asyncio
import base64
import io
import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from cli import __main__ as admin
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


def _environment(database_url: str) -> dict[str, str]:
    return {"DATABASE_URL": database_url, "ENCRYPTION_KEYS": base64.b64encode(bytes(32)).decode()}


async def run_process(
    database_url: str, *arguments: str, more: Mapping[str, str] | None = None
) -> Ran:
    """As an operator runs it. more: of the environment."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli",
        *arguments,
        env=_environment(database_url) | dict(more or {}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return Ran(code=process.returncode, out=out.decode(), err=err.decode())


async def run_admin(
    database_url: str, *arguments: str, more: Mapping[str, str] | None = None
) -> Ran:
    """The same without the second that a process takes to begin."""
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            parsed = admin.parse(list(arguments))
    except SystemExit as stopped:
        shown = said.getvalue()
        return Ran(
            code=int(stopped.code or 0),
            out="" if stopped.code else shown,
            err=shown if stopped.code else "",
        )
    environment = _environment(database_url) | dict(more or {})
    settings = AdminProcess.model_validate(
        {name.lower(): text for name, text in environment.items()}
    )
    code, text, is_result = await admin.answer(settings, parsed)
    return Ran(code=code, out=text if is_result else "", err="" if is_result else f"{text}\n")
