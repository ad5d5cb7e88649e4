"""The table of panels and alerts: its files, its metrics, its runbook."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import Counter, Gauge, Histogram

from cli.main import Command, parse
from cli.session import Session
from core.platform.observability import metrics
from deploy.observability.alerts import ALERTS
from deploy.observability.generate import stale_files
from deploy.observability.objectives import RECORDINGS
from deploy.observability.panels import NOT_SHOWN, ROWS
from deploy.observability.table import Alert

OURS = re.compile(r"\btakeone_\w+")
RECORDED = re.compile(r"\btakeone:\w+:\w+")
SUFFIXES = re.compile(r"_(bucket|sum|count)$")
PLACEHOLDERS = {
    "USER": "usr_1",
    "JOB": "job_1",
    "KEY": "key_1",
    "EVENT": "evt_1",
    "EXECUTION": "exec_1",
    "PROVIDER": "fal",
    "NAME": "fal",
    "TEXT": "because",
    "USD": "1.5",
    "FILE": "bill.csv",
    "PROVIDER_JOB_ID": "theirs",
}


def queries() -> Iterator[str]:
    for row in ROWS:
        for panel in row.panels:
            yield from (query.expr for query in panel.queries)
    for alert in ALERTS:
        yield alert.condition
        yield from alert.measures
    yield from (recording.expr for recording in RECORDINGS)


def declared() -> set[str]:
    """Return the names of all metrics as they are exposed."""
    found: set[str] = set()
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            [family] = metric.describe()
            found.add(family.name + ("_total" if isinstance(metric, Counter) else ""))
    return found


def used() -> set[str]:
    names = {name for query in queries() for name in OURS.findall(query)}
    return {name if name in declared() else SUFFIXES.sub("", name) for name in names}


def test_generated_files_are_current() -> None:
    assert stale_files() == [], "run: python -m deploy.observability.generate"


def test_queries_name_metrics_that_exist() -> None:
    assert used() - declared() == set()
    recorded = {recording.name for recording in RECORDINGS}
    assert {name for query in queries() for name in RECORDED.findall(query)} <= recorded


def test_every_metric_is_shown_or_has_a_reason() -> None:
    assert declared() - used() == set(NOT_SHOWN)


def test_names_are_unique() -> None:
    panels = [panel.title for row in ROWS for panel in row.panels]
    assert len(panels) == len(set(panels))
    assert len(ALERTS) == len({alert.name for alert in ALERTS})


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
async def test_commands_of_the_runbook_exist(alert: Alert) -> None:
    assert alert.commands
    for text in alert.commands:
        arguments = [PLACEHOLDERS.get(word, word) for word in shlex.split(text)]
        command = parse(arguments, Session(no_settings))
        assert not isinstance(command, int), text
        close(command)


def no_settings() -> Any:
    raise AssertionError("parsing reads no settings")


def close(command: Command) -> None:
    command.close()


def test_runbook_is_complete() -> None:
    for alert in ALERTS:
        for text in (alert.summary, alert.reason, alert.look, alert.act):
            assert len(text) > 10, alert.name
        for word in (alert.reason, alert.look, alert.act):
            assert word.endswith((".", ")")), (alert.name, word)
