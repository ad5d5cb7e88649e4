"""Log events are a closed list of dotted names, each written as a literal at its log call."""

import re

from docs.generate.log_events import log_events

NAME = re.compile(r"[a-z_]+(\.[a-z_]+)+")


def test_log_events_are_dotted_literals() -> None:
    wrong = [
        f"{call.path}:{call.line}: {call.event!r}"
        for call in log_events()
        if not NAME.fullmatch(call.event)
    ]
    assert wrong == []


def test_event_has_the_same_level_everywhere() -> None:
    levels: dict[str, set[str]] = {}
    for call in log_events():
        levels.setdefault(call.event, set()).add(call.level)
    assert {name: seen for name, seen in levels.items() if len(seen) > 1} == {}


def test_log_calls_are_found() -> None:
    assert len(list(log_events())) > 50
