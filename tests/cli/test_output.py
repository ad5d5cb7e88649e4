"""Tables for people: on every width of terminal, an id can be copied whole."""

import sys
from io import StringIO

import pytest

from cli.output import show

ROWS = [
    {"jobId": f"job_{number:032x}", "executionId": f"exec_{number:032x}", "lastError": "y" * 90}
    for number in range(2)
]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, columns: int) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", Terminal())
    return show(ROWS, as_json=False).text.splitlines()


def test_row_stays_on_one_line_in_a_pipe() -> None:
    lines = show(ROWS, as_json=False).text.splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert all(
        all(str(value) in line for value in row.values())
        for row, line in zip(ROWS, lines[2:], strict=True)
    )


def test_last_cell_continues_on_further_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 120)
    assert max(map(len, lines)) <= 120
    for row in ROWS:
        assert any(row["jobId"] in line and row["executionId"] in line for line in lines)
    assert sum(line.count("y") for line in lines) == 90 * len(ROWS)


def test_row_is_a_record_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(monkeypatch, 80)
    assert lines[:2] == [
        f"Job ID        {ROWS[0]['jobId']}",
        f"Execution ID  {ROWS[0]['executionId']}",
    ]
    assert len(lines) == 2 * len(ROWS[0]) + 1
