"""Run all tests and repeat a few failed ones: `python -m tests.support.repeat_alone OPTIONS`.

OPTIONS are those of pytest. A whole run has four processes on two processors, so a test of real
servers can be late where it is not wrong. It fails, passes alone, and is reported as unstable.
"""

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import pytest

MOST: Final = 3
"""More failures have a cause of their own."""
FINAL: Final = ("tests/unit/", "tests/docs/")
"""These tests start no servers, so the speed of the machine does not excuse them."""
UNSTABLE: Final = "It failed in the whole run, see above, and passed alone: an unstable test is a bug to be found."


class Failures:
    """A plugin of the process that collects the reports, which has the names of failed tests."""

    def __init__(self) -> None:
        self._due: set[str] = set()
        self._ended: set[str] = set()
        self._failed: dict[str, None] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._due.update(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)  # a run in one process may be without xdist
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._due.update(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:  # also if the test's process crashed
            self._failed[report.nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._ended.add(nodeid)

    def to_repeat(self, status: int) -> list[str]:
        """Return the tests whose repetition decides about the run, by its exit status."""
        few = len(self._failed) <= MOST
        all_others_passed = self._due <= self._ended | self._failed.keys()
        excused = not any(name.startswith(FINAL) for name in self._failed)
        if status == pytest.ExitCode.TESTS_FAILED and few and all_others_passed and excused:
            return list(self._failed)
        return []


def main(options: Sequence[str]) -> int:
    """Return the exit status of pytest: of the repetition, if there was one."""
    failures = Failures()
    status = int(pytest.main([*options], plugins=[failures]))
    names = failures.to_repeat(status)
    if not names:
        return status
    print(f"\nFAILED, and repeated alone ({len(names)}):", *names, sep="\n  ", flush=True)
    status = subprocess.run([sys.executable, "-m", "pytest", *names]).returncode
    if status:
        print("\nFAILED AGAIN, alone: see above.")
    else:
        print(*(f"\nUNSTABLE: {name}\n  {UNSTABLE}" for name in names), sep="")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
