"""The commands of the README, run on real servers."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local.config import variable_of
from deploy.local.servers.postgres import SYSTEM_USER, postgres
from deploy.local.servers.process import PartFailedError
from tests.support.stack_ports import free_stack_ports

ROOT = Path(__file__).parents[2]
PARTS = 7
"""Temporal, sandbox, PostgreSQL, S3, API, worker, and the operator's console."""


@pytest.fixture
def environment(servers_folder: Path) -> Generator[dict[str, str]]:
    """Return a data folder, free ports, and provider keys that must never be used."""
    folder = servers_folder / "stack"
    yield {
        **os.environ,
        **{variable_of(name): str(port) for name, port in asdict(free_stack_ports()).items()},
        "TAKEONE_DATA_DIR": str(folder),
        "SANDBOX_VIDEO_SECONDS": "1",
        "FAL_KEY": "real:key",
        "REPLICATE_API_TOKEN": "r8_real",
    }
    for started in noted(folder):
        if psutil.pid_exists(started["pid"]):
            os.kill(started["pid"], signal.SIGKILL)


def noted(folder: Path) -> list[dict[str, Any]]:
    path = folder / "processes.json"
    return json.loads(path.read_text()) if path.exists() else []


@contextmanager
def run(environment: dict[str, str], *arguments: str) -> Generator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.local", *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(480)
def test_demo_after_a_killed_start_makes_a_video_and_stops(
    environment: dict[str, str],
) -> None:
    folder = Path(environment["TAKEONE_DATA_DIR"])
    with run(environment, "up") as up:
        deadline = time.monotonic() + 120
        while len(noted(folder)) < PARTS and time.monotonic() < deadline:
            time.sleep(0.1)
        up.kill()
    left = noted(folder)
    assert len(left) == PARTS
    assert all(psutil.pid_exists(one["pid"]) for one in left)

    with run(environment, "demo") as demo:
        said, _ = demo.communicate(timeout=300)
    assert demo.returncode == 0, said
    assert all(f"Stopped {one['name']} (process {one['pid']})" in said for one in left)
    assert "100 %  completed image done, video done" in said
    assert re.search(
        r"Video +http://127\.0\.0\.1:\d+/takeone/\S+\.mp4\n +plays: 1280 x 720, 5\.0 s, \d+ frames",
        said,
    )
    assert "both signatures verified" in said
    assert noted(folder) == []
    assert "Traceback" not in said
    assert "real:key" not in said
    assert not any(b"real:key" in log.read_bytes() for log in (folder / "logs").iterdir())

    charged = re.findall(r"^ +total +\S+ +(\S+) *$", said, re.MULTILINE)
    events = [
        json.loads(line) for line in (folder / "sandbox" / "bill.jsonl").read_text().splitlines()
    ]
    billed = sum(event["billed_nano_usd"] for event in events if event["event"] == "outcome")
    assert [round(float(usd) * 1e9) for usd in charged] == [billed]


def test_live_demo_without_a_terminal_buys_nothing(
    environment: dict[str, str],
) -> None:
    with run(environment, "demo", "--live") as demo:
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode == 1
    assert said.splitlines()[-1] == (
        "The demo with real providers spends money and asks first: run it in a terminal"
    )
    assert "total  at most $0.303" in said
    assert not (Path(environment["TAKEONE_DATA_DIR"]) / "live").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_postgres_in_an_unreadable_folder_explains_the_remedy(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    part = postgres(closed / "data", 1, "secret", log=tmp_path / "log")
    first_closed = next(
        folder for folder in reversed(closed.parents) if not folder.stat().st_mode & 0o001
    )
    with pytest.raises(
        PartFailedError, match=rf"{SYSTEM_USER}.*chmod o\+x {re.escape(str(first_closed))}'"
    ):
        part.prepare()
