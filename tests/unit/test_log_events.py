"""Log events are a closed list of dotted names, each written as a literal at its log call."""

import re

import pytest

from tests.support.log_events import PRODUCT, events_in, log_events

NAME = re.compile(r"[a-z_]+(\.[a-z_]+)+")
TO_CONVERT = (
    "worker.py",
    "activities/",
    "api/",
    "cli/",
    "core/jobs/",
    "core/maintenance/",
    "core/ordering/",
    "core/platform/crypto/",
    "core/platform/oidc/",
    "core/platform/temporal/",
    "core/store/",
    "core/webhooks/",
    "workflows/",
)
"""Folders whose log calls still have sentences. An entry goes when its folder is converted."""


@pytest.mark.parametrize("folder", PRODUCT)
def test_log_events_are_dotted_literals(folder: str) -> None:
    wrong = [
        f"{event.file}:{event.line}: {event.event!r}"
        for event in log_events(folders=(folder,))
        if not event.file.startswith(TO_CONVERT)
        and (event.event is None or not NAME.fullmatch(event.event))
    ]
    assert wrong == []


def test_event_has_the_same_level_everywhere() -> None:
    levels: dict[str, set[str]] = {}
    for event in log_events():
        if event.event and NAME.fullmatch(event.event):
            levels.setdefault(event.event, set()).add(event.level)
    assert {name: seen for name, seen in levels.items() if len(seen) > 1} == {}


def test_log_calls_are_read_with_level_and_fields() -> None:
    source = """
log.warning("job.lost", provider=name, exc_info=True, **ids)
workflow.logger.info("run.started", extra={"generation": 1})
logging.getLogger("x").critical(f"process.{end}")
self.note.info("not a log call")
"""
    events = [(event.event, event.level, event.fields) for event in events_in(source, "x.py")]
    assert events == [
        ("job.lost", "warning", ("**", "provider")),
        ("run.started", "info", ("generation",)),
        (None, "critical", ()),
    ]
