"""Cog's own HTTP server, from its package, with a model that draws on the processor."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from deploy.local.ports import free_ports

MODEL: Final = Path(__file__).parent / "model" / "painter.py"
TOKEN: Final = "cog-callbacks-5b1f0c2a9d"
READY_SECONDS: Final = 30.0
_INPUT: Final = {
    "title": "Input",
    "type": "object",
    "required": ["prompt"],
    "properties": {
        "prompt": {"type": "string", "title": "Prompt"},
        "seed": {"type": "integer", "title": "Seed", "default": 0, "minimum": 0},
        "held_by": {"type": "string", "title": "Held by", "default": ""},
        "fail": {"type": "boolean", "title": "Fail", "default": False},
    },
}
SCHEMA: Final = {
    "openapi": "3.0.2",
    "info": {"title": "Cog", "version": "0.1.0"},
    "paths": {},
    "components": {"schemas": {"Input": _INPUT, "Output": {"type": "string", "format": "uri"}}},
}
"""What `cog build` writes; with it, the server checks inputs."""


class CogServer:
    """One server with one slot, in a folder of its own.

    port: a free one, if it is not given. checks_inputs: it has the schema of its model.
    setup_held: its model is never ready.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        checks_inputs: bool = True,
        setup_held: bool = False,
    ) -> None:
        self.folder = folder
        self.port = port or free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        shutil.copy(MODEL, folder / MODEL.name)
        if checks_inputs:
            (folder / ".cog").mkdir(exist_ok=True)
            schema = folder / ".cog" / "openapi_schema.json"
            schema.write_text(json.dumps(SCHEMA), encoding="utf-8")
        if setup_held:
            (folder / "setup-held").touch()
        self.start(wait=not setup_held)
        if setup_held:
            self.wait_until("STARTING")

    def start(self, *, wait: bool = True, token: str = TOKEN) -> None:
        """Start the server, also again after a kill, with the same port.

        token: what its callbacks carry.
        """
        self._log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"],
            cwd=self.folder,
            env=self._environment(token),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its worker process is stopped with it
        )
        if wait:
            self.wait_until("READY")

    def _environment(self, token: str) -> Mapping[str, str]:
        # The worker process is started as `python`, by PATH.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        return {
            "PATH": path,
            "PORT": str(self.port),
            "HOME": str(self.folder),
            "COG_PREDICT_TYPE_STUB": f"{MODEL.name}:Painter",
            "WEBHOOK_AUTH_TOKEN": token,
        }

    def wait_until(self, state: str) -> None:
        end = time.monotonic() + READY_SECONDS
        while self.health() != state:
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def health(self) -> str:
        """Return the server's own word for its state, "" if it does not answer."""
        try:
            answer = httpx.get(f"{self.url}/health-check", trust_env=False)
        except httpx.TransportError:
            return ""
        return str(answer.json()["status"])

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")

    def runs(self) -> list[str]:
        """Return the prompts of all runs that began, in order."""
        runs = self.folder / "runs"
        return runs.read_text(encoding="utf-8").splitlines() if runs.exists() else []

    @contextmanager
    def held(self) -> Generator[None]:
        """Hold the runs of held-painter while the context is open."""
        held = self.folder / "held"
        held.touch()
        try:
            yield
        finally:
            held.unlink()

    def wait_for_run(self, number: int = 1) -> None:
        """Wait until so many runs have begun."""
        end = time.monotonic() + READY_SECONDS
        while len(self.runs()) < number:
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def kill(self) -> None:
        """End the server and its worker process at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._log.close()

    def stop(self) -> None:
        """Stop the server; a server that was killed is stopped."""
        if self._process.poll() is None:
            self.kill()
