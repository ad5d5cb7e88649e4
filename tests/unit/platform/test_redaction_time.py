"""Every redaction rule takes linear time on strings that are made of the rule's own pieces."""

import re
import time
from collections.abc import Iterator
from re import _constants as sre  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUnknownVariableType]
from re import _parser as parser  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue, reportUnknownVariableType]
from typing import Any, Final

import pytest

from core.platform.observability import redaction

LENGTHS: Final = (8_000, 30_000, 120_000)
"""Shortest first, so that an exponential rule fails within seconds."""
CPU_SECONDS: Final = 1.5
"""Of one rule on one string. A linear rule needs some milliseconds, a quadratic one many seconds.
The time is the thread's CPU time, so the load of the machine does not matter.
"""
MAX_PIECES: Final = 3
SAMPLES: Final = "aZ0-_.:/@=;,'\" \\[]~%+"
RULES: Final = [
    (pattern, replacement)
    for pattern, replacement in (
        *redaction._RULES,  # pyright: ignore[reportPrivateUsage]
        (redaction._QUERY, redaction._redact_query),  # pyright: ignore[reportPrivateUsage]
        (redaction._KEYS, r"\1"),  # pyright: ignore[reportPrivateUsage]
    )
]


def pieces(pattern: re.Pattern[str]) -> list[str]:
    """Return the literal texts of a pattern and a sample of each of its character classes."""
    return [piece for piece in _pieces(parser.parse(pattern.pattern, pattern.flags)) if piece]  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]


def _pieces(tree: Any) -> Iterator[str]:
    text = ""
    for operation, argument in tree:
        if operation is sre.LITERAL:  # pyright: ignore[reportUnknownMemberType]
            text += chr(argument)
            continue
        yield text
        text = ""
        yield from _nested(operation, argument)
    yield text


def _nested(operation: Any, argument: Any) -> Iterator[str]:
    match str(operation):
        case "SUBPATTERN":
            yield from _pieces(argument[3])
        case "BRANCH":
            for branch in argument[1]:
                yield from _pieces(branch)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            yield from _pieces(argument[2])
        case "IN":
            yield _sample(argument)
        case _:
            yield ""


def _sample(members: Any) -> str:
    """Return one character of a class."""
    class_only: Any = parser.SubPattern(parser.State(), [(sre.IN, members)])  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    one: Any = re._compiler.compile(class_only)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType, reportUnknownMemberType]
    return next((sample for sample in SAMPLES if one.fullmatch(sample)), "")  # pyright: ignore[reportUnknownMemberType]


def runs(pattern: re.Pattern[str]) -> Iterator[str]:
    """Return each run of up to MAX_PIECES successive pieces."""
    parts = pieces(pattern)
    for start in range(len(parts)):
        for end in range(start + 1, min(start + MAX_PIECES, len(parts)) + 1):
            run = "".join(parts[start:end])
            yield run


def cpu_seconds(pattern: re.Pattern[str], replacement: Any, text: str) -> float:
    start = time.thread_time()
    pattern.sub(replacement, text)
    return time.thread_time() - start


@pytest.mark.parametrize(
    ("pattern", "replacement"), RULES, ids=[f"rule {number}" for number in range(len(RULES))]
)
def test_redaction_rule_takes_linear_time(pattern: re.Pattern[str], replacement: Any) -> None:
    repeated = set(runs(pattern))
    assert len(repeated) > 3
    for length in LENGTHS:
        for run in repeated:
            text = run * (length // len(run))
            assert cpu_seconds(pattern, replacement, text) < CPU_SECONDS, (run, length)
