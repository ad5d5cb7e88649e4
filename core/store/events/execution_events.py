"""The numbered events of executions. Triggers insert them at COMMIT, see migration 0040."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from core.domain.ids import EventId, ExecutionId, UserId
from core.domain.messages.webhooks import WebhookState
from core.domain.states import ChargeState, CostBasis, ExecutionStatus, JobState
from core.store.database import Connection
from core.store.executions.views.status import JobStatus

CHANNEL: Final = "takeone_events"
"""Notifications: `EXECUTION USER SEQUENCE` of new events, `EVENT USER` of a webhook."""


class EventType(StrEnum):
    JOB = "job"
    COST = "cost"
    PROGRESS = "progress"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionEvent:
    """One event. data: of a job, see `job_of`; of others, as the trigger writes it."""

    sequence: int
    generation: int
    at: datetime
    type: EventType
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The last event of an execution, and its last `end`; 0 without events."""

    status: ExecutionStatus
    last: int
    end: int


GET_POSITION = """
SELECT e.status, coalesce(c.last_sequence, 0) AS last,
       coalesce((SELECT max(v.sequence) FROM execution_events AS v
                 WHERE v.execution_id = e.execution_id AND v.type = 'end'), 0) AS "end"
FROM executions AS e LEFT JOIN event_counters AS c ON c.execution_id = e.execution_id
WHERE e.execution_id = $1 AND e.user_id = $2 AND e.deleted_at IS NULL
"""
LIST_EVENTS = """
SELECT sequence, generation, at, type, data FROM execution_events
WHERE execution_id = $1 AND user_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4
"""


async def find_position(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> Position | None:
    """Return where an execution's events are. None: it does not exist, or is another user's."""
    row = await conn.fetchrow(GET_POSITION, execution_id, user_id)
    if row is None:
        return None
    return Position(status=ExecutionStatus(row["status"]), last=row["last"], end=row["end"])


async def list_events(
    conn: Connection, user_id: UserId, execution_id: ExecutionId, *, after: int, limit: int
) -> Sequence[ExecutionEvent]:
    """Return up to `limit` events after this sequence, in their order."""
    return [
        ExecutionEvent(
            sequence=row["sequence"],
            generation=row["generation"],
            at=row["at"],
            type=EventType(row["type"]),
            data=row["data"],
        )
        for row in await conn.fetch(LIST_EVENTS, execution_id, user_id, after, limit)
    ]


_TIMES: Final = ("created_at", "submitted_at", "ended_at", "updated_at")


def job_of(event: ExecutionEvent) -> JobStatus:
    """Return the job of an event of this type, as it was then."""
    plain = dict(event.data)
    for name in _TIMES:
        plain[name] = datetime.fromisoformat(plain[name]) if plain[name] is not None else None
    plain["state"] = JobState(plain["state"])
    if plain["charge_state"] is not None:
        plain["charge_state"] = ChargeState(plain["charge_state"])
    if plain["basis"] is not None:
        plain["basis"] = CostBasis(plain["basis"])
    return JobStatus(**plain)


LIST_SEQUENCES = """
SELECT execution_id, last_sequence FROM event_counters WHERE execution_id = ANY($1::text[])
"""


async def list_sequences(
    conn: Connection, execution_ids: Sequence[ExecutionId]
) -> dict[ExecutionId, int]:
    """Return the last sequence of each of these executions that has events. As system."""
    rows = await conn.fetch(LIST_SEQUENCES, list(execution_ids))
    return {ExecutionId(row["execution_id"]): row["last_sequence"] for row in rows}


LIST_CHANGED = """
SELECT execution_id, last_sequence, progress FROM event_counters
WHERE execution_id = ANY($1::text[]) AND user_id = $2 AND progress IS NOT NULL
ORDER BY execution_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedExecution:
    """What the last event of an execution left. progress: in percent, when it was recorded."""

    execution_id: ExecutionId
    sequence: int
    status: ExecutionStatus
    progress: int


async def list_changed(
    conn: Connection, user_id: UserId, execution_ids: Sequence[ExecutionId]
) -> Sequence[ChangedExecution]:
    return [
        ChangedExecution(
            execution_id=ExecutionId(row["execution_id"]),
            sequence=row["last_sequence"],
            status=ExecutionStatus(row["progress"]["status"]),
            progress=row["progress"]["progress"],
        )
        for row in await conn.fetch(LIST_CHANGED, list(execution_ids), user_id)
    ]


LIST_WEBHOOKS = """
SELECT w.event_id, w.execution_id, w.state,
       (SELECT count(*) FROM webhook_attempts AS a WHERE a.event_id = w.event_id) AS attempts
FROM webhooks AS w
WHERE w.event_id = ANY($1::text[]) AND w.user_id = $2 AND w.execution_id IS NOT NULL
ORDER BY w.event_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedWebhook:
    """A webhook of an execution and the number of its attempts, all deliveries together."""

    event_id: EventId
    execution_id: ExecutionId
    state: WebhookState
    attempts: int


async def list_changed_webhooks(
    conn: Connection, user_id: UserId, event_ids: Sequence[EventId]
) -> Sequence[ChangedWebhook]:
    """Return those of these webhooks that belong to executions of the user."""
    return [
        ChangedWebhook(
            event_id=EventId(row["event_id"]),
            execution_id=ExecutionId(row["execution_id"]),
            state=WebhookState(row["state"]),
            attempts=row["attempts"],
        )
        for row in await conn.fetch(LIST_WEBHOOKS, list(event_ids), user_id)
    ]
