"""Only tests that ran out of time, and only a few, run again."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.out_of_time import MOST, OutOfTime

TIMED_OUT = "TimeoutError"
HUNG = "Failed: Timeout (>120.0s) from pytest-timeout."
WRONG = "AssertionError: assert 2 == 1"


@pytest.mark.parametrize(
    ("failures", "repeated"),
    [
        ({}, False),
        ({"a": TIMED_OUT}, True),
        ({"a": TIMED_OUT, "b": HUNG}, True),
        ({"a": TIMED_OUT, "b": WRONG}, False),
        ({"a": WRONG}, False),
        ({str(number): TIMED_OUT for number in range(MOST + 1)}, False),
    ],
)
def test_few_tests_out_of_time_are_repeated(
    tmp_path: Path, failures: Mapping[str, str], repeated: bool
) -> None:
    file = tmp_path / "names"
    plugin = OutOfTime(file)
    for name, message in failures.items():
        crash = SimpleNamespace(reprcrash=SimpleNamespace(message=message))
        report: Any = SimpleNamespace(failed=True, nodeid=name, longrepr=crash)
        plugin.pytest_runtest_logreport(report)
    plugin.pytest_sessionfinish()
    assert file.exists() is repeated
    if repeated:
        assert json.loads(file.read_text()) == list(failures)
