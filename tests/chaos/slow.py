"""Explanations of slow orders: what their workflows waited for, their rows and their log lines."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError

from deploy.local.servers.temporal import NAMESPACE
from tests.chaos.testbed import APIS, WORKERS, Testbed

SLOW_SECONDS: Final = 60.0
MOST_EXPLAINED: Final = 5
"""Orders explained after each round or random mix, the slowest first."""
GAP_SECONDS: Final = 3.0
MOST_GAPS: Final = 6
LOG_LINES: Final = 40
_SHOWN_OF_A_LINE: Final = 400

JOBS = """
SELECT j.job_id, j.step_name, j.provider, j.state, j.send_number, j.failed_looks, j.created_at,
       j.submitted_at, j.updated_at, j.deadline_at,
       ARRAY(SELECT concat_ws(' ', s.number, s.outcome, s.note, 'sent', s.sent_at, 'answered', s.answered_at)
             FROM sends AS s WHERE s.job_id = j.job_id ORDER BY s.number) AS sends
FROM jobs AS j WHERE j.execution_id = $1 ORDER BY j.created_at, j.step_name
"""


async def explain_slowest(
    testbed: Testbed, seconds_of: Sequence[Mapping[str, float]], say: Callable[[str], None]
) -> None:
    """Print where the slowest executions spent their time. seconds_of: by execution."""
    longest: dict[str, float] = {}
    for seconds in seconds_of:
        longest |= {name: max(seconds[name], longest.get(name, 0.0)) for name in seconds}
    slow = [name for name in longest if longest[name] > SLOW_SECONDS]
    for execution_id in sorted(slow, key=longest.__getitem__, reverse=True)[:MOST_EXPLAINED]:
        for line in await _explain(testbed, execution_id, longest[execution_id]):
            say(f"    {line}")


async def _explain(testbed: Testbed, execution_id: str, seconds: float) -> list[str]:
    """Return lines that show where an execution spent its time."""
    jobs = await testbed.rows(JOBS, execution_id)
    lines = [f"SLOW {execution_id}: {seconds:.0f} s"]
    lines += [
        "  row: " + ", ".join(f"{name} {value}" for name, value in job.items()) for job in jobs
    ]
    with contextlib.suppress(RPCError, RuntimeError, OSError):
        lines += [f"  gap: {gap}" for gap in await _gaps(testbed, execution_id)]
    names = [execution_id, *(str(job["job_id"]) for job in jobs)]
    return lines + [f"  log: {line}" for line in _log_lines(testbed, names)]


async def _gaps(testbed: Testbed, execution_id: str) -> list[str]:
    """Return the longest pauses between two events of the workflow's history, in their order."""
    client = await Client.connect(f"127.0.0.1:{testbed.config.ports.temporal}", namespace=NAMESPACE)
    history = await client.get_workflow_handle(execution_id).fetch_history()
    events = sorted(history.events, key=lambda event: event.event_id)
    names = _activity_names(events)
    pauses = [
        ((after.event_time.ToDatetime() - before.event_time.ToDatetime()).total_seconds(), at)
        for at, (before, after) in enumerate(pairwise(events))
    ]
    longest = sorted(pause for pause in pauses if pause[0] > GAP_SECONDS)[-MOST_GAPS:]
    return [
        f"{seconds:.1f} s from {_shown(events[at], names)} to {_shown(events[at + 1], names)}"
        for seconds, at in sorted(longest, key=lambda pause: pause[1])
    ]


def _activity_names(events: Sequence[HistoryEvent]) -> Mapping[int, str]:
    return {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_type.name
        for event in events
        if event.HasField("activity_task_scheduled_event_attributes")
    }


def _shown(event: HistoryEvent, names: Mapping[int, str]) -> str:
    kind = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()
    name, detail = names.get(event.event_id, ""), ""
    if event.HasField("activity_task_started_event_attributes"):
        started = event.activity_task_started_event_attributes
        name = names.get(started.scheduled_event_id, "")
        detail = f"attempt {started.attempt} {started.last_failure.message}".strip()
    at = event.event_time.ToDatetime().strftime("%H:%M:%S.%f")[:-3]
    return " ".join(filter(None, (f"{event.event_id} {kind}", name, detail, f"at {at}")))


def _log_lines(testbed: Testbed, names: Sequence[str]) -> Iterator[str]:
    """Yield the last lines of the product's logs that name one of these ids, in their order."""
    found: list[tuple[str, str]] = []
    for process in (*APIS, *WORKERS):
        log = testbed.log_of(process)
        if not log.exists():
            continue
        with log.open(errors="replace") as lines:
            found += [
                (_time_of(line), f"{process}: {line.strip()[:_SHOWN_OF_A_LINE]}")
                for line in lines
                if any(name in line for name in names)
            ]
    for _, line in sorted(found)[-LOG_LINES:]:
        yield line


def _time_of(line: str) -> str:
    """Return the time of a JSON line; other lines come first."""
    try:
        time = json.loads(line)["time"]
        datetime.fromisoformat(time)
    except (ValueError, KeyError, TypeError):
        return ""
    return str(time)
