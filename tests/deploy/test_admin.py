"""`make user`: administration commands with the settings of the running stack."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.config import ROOT, variable_of
from deploy.local.keys import keep_keys
from deploy.local.ports import free_ports


def test_admin_of_a_stopped_stack_asks_whether_it_runs(tmp_path: Path) -> None:
    keep_keys(tmp_path)
    (tmp_path / "postgres").mkdir()
    (port,) = free_ports(1)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "admin", "users", "list"],
        env={**os.environ, "TAKEONE_DATA_DIR": str(tmp_path), variable_of("postgres"): str(port)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr.splitlines()[-1]
        == f"Nothing listens on port {port}: is the stack running (make up)?"
    )


def test_help_of_an_operators_command_is_its_own(tmp_path: Path) -> None:
    keep_keys(tmp_path)
    (tmp_path / "postgres").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "admin", "submits", "pause", "--help"],
        env={**os.environ, "TAKEONE_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Only calls to this provider" in done.stdout) == (0, True), done


@pytest.mark.parametrize("command", [["admin", "users", "list"], ["worker", "--build-id", "new"]])
def test_command_without_a_stack_names_the_one_to_run(tmp_path: Path, command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", *command],
        env={**os.environ, "TAKEONE_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"No stack was started in {tmp_path} yet: run `make up` first\n"
