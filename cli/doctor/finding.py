"""A finding of `takeone-admin doctor`: one line with a level, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """OK: as it should be. WARN: works, with a limit to accept. FAIL: do not go live."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line. check: AREA.SUBJECT, stable for programs. action: "" for OK."""

    level: Level
    check: str
    text: str
    action: str = ""


def ok(check: str, text: str) -> Finding:
    return Finding(level=Level.OK, check=check, text=text)


def warn(check: str, text: str, action: str) -> Finding:
    return Finding(level=Level.WARN, check=check, text=text, action=action)


def fail(check: str, text: str, action: str) -> Finding:
    return Finding(level=Level.FAIL, check=check, text=text, action=action)


def count(findings: Iterable[Finding], level: Level) -> int:
    return sum(finding.level is level for finding in findings)
