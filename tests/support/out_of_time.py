"""Tests that only ran out of time run again, alone: `python -m tests.support.out_of_time FILE`.

The whole run has four processes on two processors, so a slow machine can use up the time limit of a
test. A failed assertion is never repeated.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

FILE_VARIABLE: Final = "TESTS_OUT_OF_TIME"
"""The environment variable with the file that receives the names of the tests."""
MOST: Final = 3
"""More tests that ran out of time have a reason of their own."""
TIME_LIMITS: Final = ("TimeoutError", "Failed: Timeout")


class OutOfTime:
    """A plugin that writes the names, if nothing else failed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._failed: dict[str, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            limit = crash is not None and str(crash.message).startswith(TIME_LIMITS)
            self._failed[report.nodeid] = limit and self._failed.get(report.nodeid, True)

    def pytest_sessionfinish(self) -> None:
        if 0 < len(self._failed) <= MOST and all(self._failed.values()):
            self._file.write_text(json.dumps(list(self._failed)), encoding="utf-8")


def register(config: pytest.Config) -> None:
    """Register the plugin in the process that collects the reports."""
    file = os.environ.get(FILE_VARIABLE)
    if file and not hasattr(config, "workerinput"):
        config.pluginmanager.register(OutOfTime(Path(file)))


def main(arguments: Sequence[str]) -> int:
    """Run the tests of the file, and return the exit status of pytest."""
    (file,) = arguments
    names: list[str] = json.loads(Path(file).read_text(encoding="utf-8"))
    print(f"\n{len(names)} of the tests ran out of time and run again, alone:")
    print(*names, sep="\n", flush=True)
    environment = {name: text for name, text in os.environ.items() if name != FILE_VARIABLE}
    return subprocess.run([sys.executable, "-m", "pytest", *names], env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
