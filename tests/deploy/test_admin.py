"""`make user`: the administration of the running stack, with its settings."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.local.config import ROOT


def test_admin_without_a_stack_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "admin", "users", "list"],
        env={**os.environ, "TAKEONE_DATA_DIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"There is no stack in {tmp_path} yet: run `make up` first\n"
