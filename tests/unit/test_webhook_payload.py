"""The JSON body of every webhook."""

import json
from datetime import UTC, date, datetime

from core.domain.ids import EndpointId, EventId, ExecutionId
from core.domain.messages.webhooks import DisabledReason, EventType
from core.domain.money import NanoUsd
from core.domain.months import Measure
from core.domain.states import ExecutionStatus
from core.domain.webhook_payload import (
    ExecutionEvent,
    budget_threshold_body,
    endpoint_disabled_body,
    endpoint_test_body,
    execution_body,
)

EVENT, ENDPOINT = EventId("evt_1"), EndpointId("end_1")
COMMON = ["id", "type", "timestamp"]


def test_execution_body_has_the_documented_fields() -> None:
    event = ExecutionEvent(
        event_id=EVENT,
        type=EventType.EXECUTION_COMPLETED,
        execution_id=ExecutionId("exec_1"),
        generation=1,
        sequence=2,
        status=ExecutionStatus.COMPLETED,
        result={"videoUrl": "https://cdn.test/é.mp4"},
        error=None,
        estimated_nano_usd=NanoUsd(3_000_000_000),
        held_nano_usd=NanoUsd(0),
        settled_nano_usd=NanoUsd(2_500_000_000),
        saved_nano_usd=NanoUsd(100_000_000),
        final=True,
        metadata={"a": 1},
    )
    encoded = execution_body(event)
    assert "é".encode() in encoded
    body = json.loads(encoded)
    assert list(body) == [
        *COMMON,
        *("executionId", "generation", "sequence", "status", "result", "error", "cost", "metadata"),
    ]
    assert body["timestamp"].endswith("Z")
    assert list(body["cost"]) == ["currency", "estimated", "held", "settled", "saved", "final"]
    assert (float(body["cost"]["settled"]), float(body["cost"]["saved"])) == (2.5, 0.1)


def test_budget_body_has_money_as_text_and_videos_as_numbers() -> None:
    month = date(2026, 11, 1)
    money = json.loads(
        budget_threshold_body(
            EVENT, month=month, measure=Measure.USD, percent=80, limit=10**9, held=1, settled=2
        )
    )
    videos = json.loads(
        budget_threshold_body(
            EVENT, month=month, measure=Measure.VIDEOS, percent=80, limit=10, held=3, settled=5
        )
    )
    assert (money["month"], money["currency"]) == ("2026-11", "USD")
    assert isinstance(money["limit"], str)
    assert "currency" not in videos
    assert (videos["limit"], videos["used"]) == (10, 8)
    assert money["resetsAt"] == videos["resetsAt"] == "2026-12-01T00:00:00.000Z"


def test_endpoint_bodies_name_their_endpoint() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    disabled = json.loads(
        endpoint_disabled_body(
            EVENT,
            endpoint_id=ENDPOINT,
            url="https://receiver.test",
            reason=DisabledReason.GONE,
            disabled_at=at,
            failing_since=None,
            last_success_at=at,
        )
    )
    assert list(disabled) == [
        *COMMON,
        *("endpointId", "url", "reason", "failingSince", "lastSuccessAt"),
    ]
    assert (disabled["failingSince"], disabled["lastSuccessAt"]) == (
        None,
        "2026-01-02T00:00:00.000Z",
    )
    assert list(json.loads(endpoint_test_body(EVENT, endpoint_id=ENDPOINT))) == [
        *COMMON,
        "endpointId",
    ]
