"""The JSON body of every webhook: built once, stored, and sent unchanged in every attempt."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from core.domain.ids import EndpointId, EventId, ExecutionId
from core.domain.messages.webhooks import DisabledReason, EventType
from core.domain.money import NanoUsd, usd_text
from core.domain.months import Measure, next_month
from core.domain.states import ExecutionStatus, Surface

_END_TYPES: Final = {
    ExecutionStatus.COMPLETED: EventType.EXECUTION_COMPLETED,
    ExecutionStatus.FAILED: EventType.EXECUTION_FAILED,
    ExecutionStatus.CANCELLED: EventType.EXECUTION_CANCELLED,
}


def end_event_type(status: ExecutionStatus, surface: Surface | None = None) -> EventType:
    """Return the type of the event about an end. A cancelled video of OpenAI has failed."""
    if surface is Surface.OPENAI:
        completed = status is ExecutionStatus.COMPLETED
        return EventType.VIDEO_COMPLETED if completed else EventType.VIDEO_FAILED
    return _END_TYPES[status]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionEvent:
    """The end of an execution, or its wait for a decision.

    result: if it completed. error: if it failed or was cancelled. waiting_for: the approval step.
    final: no bill is open, so `settled` no longer changes. sequence: the number of the event within
    the execution, from 1. surface: where the execution was ordered.
    """

    event_id: EventId
    type: EventType
    execution_id: ExecutionId
    generation: int
    sequence: int
    status: ExecutionStatus
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None
    estimated_nano_usd: NanoUsd
    held_nano_usd: NanoUsd
    settled_nano_usd: NanoUsd
    saved_nano_usd: NanoUsd
    final: bool
    metadata: Mapping[str, Any]
    waiting_for: Mapping[str, Any] | None = None
    surface: Surface | None = None


def execution_body(event: ExecutionEvent) -> bytes:
    """Return the body of an event about an execution.

    For orders over /v1, it has the members that OpenAI's clients read in addition.
    """
    at = datetime.now(UTC)
    return _encode(
        event.event_id,
        event.type,
        at,
        executionId=event.execution_id,
        generation=event.generation,
        sequence=event.sequence,
        status=event.status,
        result=event.result,
        error=event.error,
        cost={
            "currency": "USD",
            "estimated": usd_text(event.estimated_nano_usd),
            "held": usd_text(event.held_nano_usd),
            "settled": usd_text(event.settled_nano_usd),
            "saved": usd_text(event.saved_nano_usd),
            "final": event.final,
        },
        metadata=dict(event.metadata),
        **({} if event.waiting_for is None else {"waitingFor": event.waiting_for}),
        **(_openai_members(event, at) if event.surface is Surface.OPENAI else {}),
    )


def _openai_members(event: ExecutionEvent, at: datetime) -> dict[str, object]:
    return {
        "object": "event",
        "created_at": int(at.timestamp()),
        "data": {"id": event.execution_id},
    }


def budget_threshold_body(
    event_id: EventId,
    *,
    month: date,
    measure: Measure,
    percent: int,
    limit: int,
    held: int,
    settled: int,
) -> bytes:
    """Return the body of `budget.threshold_reached`: money as decimal text, videos as numbers."""
    is_money = measure is Measure.USD
    amounts = {"limit": limit, "used": held + settled, "held": held, "settled": settled}
    return _encode(
        event_id,
        EventType.BUDGET_THRESHOLD_REACHED,
        datetime.now(UTC),
        month=f"{month:%Y-%m}",
        kind=measure,
        percent=percent,
        **({"currency": "USD"} if is_money else {}),
        **{name: usd_text(amount) if is_money else amount for name, amount in amounts.items()},
        resetsAt=_timestamp(next_month(month)),
    )


def endpoint_disabled_body(
    event_id: EventId,
    *,
    endpoint_id: EndpointId,
    url: str,
    reason: DisabledReason,
    disabled_at: datetime,
    failing_since: datetime | None,
    last_success_at: datetime | None,
) -> bytes:
    """Return the body of `endpoint.disabled`, which is sent to the account's default endpoint."""
    return _encode(
        event_id,
        EventType.ENDPOINT_DISABLED,
        disabled_at,
        endpointId=endpoint_id,
        url=url,
        reason=reason,
        failingSince=_timestamp(failing_since),
        lastSuccessAt=_timestamp(last_success_at),
    )


def endpoint_test_body(event_id: EventId, *, endpoint_id: str) -> bytes:
    """Return the body of `endpoint.test`."""
    return _encode(event_id, EventType.ENDPOINT_TEST, datetime.now(UTC), endpointId=endpoint_id)


def _encode(event_id: EventId, type_: EventType, at: datetime, **fields: object) -> bytes:
    body = {"id": event_id, "type": type_, "timestamp": _timestamp(at), **fields}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _timestamp(at: datetime | None) -> str | None:
    """Return a time as ISO 8601 in UTC with milliseconds."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
