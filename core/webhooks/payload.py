"""What an end looks like on the wire: the result, the error, and the body of the webhook. Pure."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from core.domain.failures import Failure
from core.domain.ids import EventId
from core.domain.messages.webhooks import EventType
from core.domain.money import usd_text
from core.domain.plans import StepKind
from core.domain.states import ExecutionStatus
from core.store.executions.executions import OpenExecution
from core.store.files.assets import StepAsset
from core.store.money.charges import ExecutionMoney
from core.webhooks.asset_links import AssetLinks


def result_json(assets: Sequence[StepAsset], links: AssetLinks) -> dict[str, Any]:
    """Every asset with an address that may be kept; videoUrl and imageUrl are that of the result,
    else the last of their kind.
    """
    listed = [
        {
            "id": item.asset.asset_id,
            "step": item.step,
            "kind": item.asset.kind,
            "url": links.address(item.asset.asset_id, item.asset.object_key),
            "contentType": item.asset.content_type,
            "sizeBytes": item.asset.size_bytes,
            "sha256": item.asset.sha256,
        }
        for item in assets
    ]
    results = {item.asset.asset_id for item in assets if item.is_result}
    # Of a result of several files the first is the one meant; of other steps the last.
    chosen = {entry["kind"]: entry["url"] for entry in listed if entry["id"] not in results}
    chosen |= {entry["kind"]: entry["url"] for entry in reversed(listed) if entry["id"] in results}
    return {
        "videoUrl": chosen.get(StepKind.VIDEO),
        "imageUrl": chosen.get(StepKind.IMAGE),
        "assets": listed,
    }


def error_json(failure: Failure, money: ExecutionMoney) -> dict[str, Any]:
    """spent: what the providers have billed for this execution although it failed."""
    return {
        "code": failure.code,
        "message": failure.message,
        "retryable": failure.retryable,
        "spent": usd_text(money.settled_nano_usd),
    }


def webhook_body(
    event_id: EventId,
    type_: EventType,
    sequence: int,
    execution: OpenExecution,
    status: ExecutionStatus,
    result: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
    money: ExecutionMoney,
) -> bytes:
    """The body as it is stored once and sent on every try."""
    body = {
        "id": event_id,
        "type": type_,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "executionId": execution.execution_id,
        "generation": execution.generation,
        "sequence": sequence,
        "status": status,
        "result": result,
        "error": error,
        "cost": {
            "currency": "USD",
            "estimated": usd_text(execution.estimated_nano_usd),
            "held": usd_text(money.held_nano_usd),
            "settled": usd_text(money.settled_nano_usd),
            "final": money.final,
        },
        "metadata": dict(execution.metadata),
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
