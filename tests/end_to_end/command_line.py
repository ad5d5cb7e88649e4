"""The command line `takeone` as a program, on a terminal, and within this process."""

import asyncio
import io
import json
import os
import pty
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from takeone.cli.main import run
from tests.end_to_end.world import World

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/python"
PROGRAM = (sys.executable, "-W", "error", "-m", "takeone.cli")


@dataclass(frozen=True)
class Ended:
    """A command that has ended: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document of standard output."""
        return json.loads(self.out)


class CommandLine:
    """Runs commands with the key of a user, and a folder of its own for profiles."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.access = {
            "TAKEONE_BASE_URL": world.stack.config.api_url,
            "TAKEONE_API_KEY": world.user.api_key,
        }

    def environment(self, changes: Mapping[str, str | None]) -> dict[str, str]:
        """Return the environment of a command. None removes a variable."""
        values = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(PACKAGE),
            "XDG_CONFIG_HOME": str(self.config),
            "HOME": str(self.folder),
            "TERM": "xterm-256color",
            **self.access,
            **changes,
        }
        return {name: value for name, value in values.items() if value is not None}

    async def start(
        self, *arguments: str, env: Mapping[str, str | None] | None = None
    ) -> asyncio.subprocess.Process:
        """Start a command whose streams are pipes."""
        return await asyncio.create_subprocess_exec(
            *PROGRAM,
            *arguments,
            cwd=self.folder,
            env=self.environment(env or {}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(
        self, *arguments: str, env: Mapping[str, str | None] | None = None, stdin: str = ""
    ) -> Ended:
        """Run a command to its end."""
        process = await self.start(*arguments, env=env)
        out, err = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), err.decode())

    async def call(self, *arguments: str) -> Ended:
        """Run a command within this process, which takes no time to start."""
        out, err = io.StringIO(), io.StringIO()

        def run_here() -> int:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in self.environment({}).items():
                    patch.setenv(name, value)
                patch.chdir(self.folder)
                with redirect_stdout(out), redirect_stderr(err):
                    return run(arguments)

        code = await asyncio.to_thread(run_here)
        return Ended(code, out.getvalue(), err.getvalue())

    async def on_terminal(self, *arguments: str, keys: str = "", until: str = "") -> Ended:
        """Run a command on a terminal of its own.

        until: the text on which the keys are pressed; without it, they are pressed at once.
        """
        terminal, end = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *arguments,
            cwd=self.folder,
            env=self.environment({"COLUMNS": "120"}),
            stdin=end,
            stdout=end,
            stderr=end,
        )
        os.close(end)
        try:
            shown = await asyncio.to_thread(_converse, terminal, keys, until)
        finally:
            os.close(terminal)
        return Ended(await process.wait(), shown, "")


def _converse(terminal: int, keys: str, until: str) -> str:
    """Read all that a terminal shows, and press keys once a text is there."""
    shown = b""
    pressed = not keys
    while True:
        if not pressed and until.encode() in shown:
            os.write(terminal, keys.encode())
            pressed = True
        try:
            chunk = os.read(terminal, 65536)
        except OSError:  # the program has closed its end
            chunk = b""
        if not chunk:
            return shown.decode()
        shown += chunk


async def interrupt(process: asyncio.subprocess.Process, after: str) -> Ended:
    """Press Ctrl-C once a command has printed a text on standard error. Return its end."""
    assert process.stderr is not None
    seen = b""
    while after.encode() not in seen:
        chunk = await process.stderr.read(65536)
        assert chunk, seen.decode()
        seen += chunk
    process.send_signal(signal.SIGINT)
    out, rest = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), (seen + rest).decode())
