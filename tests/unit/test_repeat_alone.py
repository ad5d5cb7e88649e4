"""A few failed tests of real servers are repeated alone, and decide about the run."""

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.repeat_alone import MOST, Failures

ROOT = Path(__file__).parents[2]
RED = int(pytest.ExitCode.TESTS_FAILED)
A, B, C, D = (f"tests/{folder}/test_it.py::test_it" for folder in ("api", "cli", "sdk", "media"))
UNIT, DOCS = "tests/unit/test_it.py::test_it", "tests/docs/test_it.py::test_it"
FAILS_ONCE = """
from pathlib import Path
def test_late():
    first = not Path("ran").exists()
    Path("ran").touch()
    assert not first, "the first failure"
def test_other(): pass
"""
CRASHES_ONCE = """
import os
from pathlib import Path
def test_gone():
    with Path("starts").open("a") as file: file.write("x")
    # xdist starts it a second time, in another process.
    if Path("starts").stat().st_size == 1: os._exit(3)
def test_other(): pass
"""
FAILS_ALWAYS = "def test_wrong(): assert 2 == 1"


@pytest.mark.parametrize(
    ("failed", "repeated"),
    [
        ([], False),
        ([A], True),
        ([A, A], True),  # in the test, and in its teardown
        ([A, B, C], True),
        ([A, B, C, D], False),
        ([UNIT], False),
        ([DOCS], False),
        ([A, UNIT], False),
    ],
)
def test_few_failures_of_real_servers_are_repeated(
    failed: Collection[str], *, repeated: bool
) -> None:
    assert MOST == 3
    failures = after([A, B, C, D, UNIT, DOCS], failed)
    assert failures.to_repeat(RED) == (list(dict.fromkeys(failed)) if repeated else [])


@pytest.mark.parametrize("status", [pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR])
def test_interrupted_run_is_not_repaired(status: pytest.ExitCode) -> None:
    assert after([A, B], [A]).to_repeat(status) == []


def test_run_that_lost_tests_is_not_repaired() -> None:
    """A test that ends each of its processes uses up the restarts, and others do not run."""
    failures = after([A], [])
    failures.pytest_runtest_logreport(report(B))
    assert failures.to_repeat(RED) == [B]
    failures.pytest_xdist_node_collection_finished([A, B, C])
    assert failures.to_repeat(RED) == []


def after(tests: Collection[str], failed: Collection[str]) -> Failures:
    """Return the plugin after a run of these tests."""
    failures = Failures()
    failures.pytest_xdist_node_collection_finished(list(tests))
    for name in failed:
        failures.pytest_runtest_logreport(report(name))
    for name in tests:
        failures.pytest_runtest_logfinish(name)
    return failures


def report(name: str) -> Any:
    return SimpleNamespace(failed=True, nodeid=name)


@pytest.mark.timeout(300)
def test_unstable_tests_pass_the_run_and_are_named_last(tmp_path: Path) -> None:
    status, output = run(tmp_path, api=FAILS_ONCE, media=CRASHES_ONCE)
    assert status == 0, output
    assert "the first failure" in output
    assert "crashed while running 'tests/media/test_media.py::test_gone'" in output
    assert (tmp_path / "starts").read_text() == "xxx"
    last = output.strip().splitlines()[-4:]
    assert {last[0], last[2]} == {
        "UNSTABLE: tests/api/test_api.py::test_late",
        "UNSTABLE: tests/media/test_media.py::test_gone",
    }
    assert last[1].endswith("an unstable test is a bug to be found.")


@pytest.mark.timeout(300)
def test_run_fails_if_one_fails_alone(tmp_path: Path) -> None:
    status, output = run(tmp_path, api=FAILS_ONCE, cli=FAILS_ALWAYS)
    assert status == RED, output
    assert output.strip().splitlines()[-1] == "FAILED AGAIN, alone: see above."
    assert "UNSTABLE" not in output


def run(folder: Path, **files: str) -> tuple[int, str]:
    """Run a test file for each folder in two processes; return the exit status and the output."""
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q -p no:cacheprovider\n")
    for name, text in files.items():
        (folder / "tests" / name).mkdir(parents=True)
        (folder / "tests" / name / f"test_{name}.py").write_text(text)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.repeat_alone", "-n2", "--dist", "loadfile"],
        cwd=folder,
        # Without the plugins that it does not need, a run takes half a second.
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "xdist.plugin",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return ran.returncode, ran.stdout
