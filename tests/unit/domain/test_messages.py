"""Messages in histories: old messages stay readable."""

import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import DataConverter

from activities.approvals import ApprovalActivities
from activities.assets import AssetActivities
from activities.executions import ExecutionActivities
from activities.jobs import JobActivities
from activities.media import MediaActivities
from activities.webhooks import WebhookActivities
from tests.unit.domain.messages import GOLDEN, MESSAGES, encoded
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.execution import ExecutionWorkflow


def decoded(data: bytes, like: Any) -> Any:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=data)
    (value,) = DataConverter.default.payload_converter.from_payloads([payload], [type(like)])
    return value


@pytest.mark.parametrize("name", MESSAGES)
def test_message_of_an_old_history_decodes_in_this_code(name: str) -> None:
    message = MESSAGES[name]
    assert decoded((GOLDEN / f"{name}.json").read_bytes(), message) == message


@pytest.mark.parametrize("name", MESSAGES)
def test_message_still_has_every_field_that_old_code_reads(name: str) -> None:
    golden, now = (
        json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8")),
        encoded(MESSAGES[name]),
    )
    assert _without_new(now, golden) == golden


def _without_new(now: Any, golden: Any) -> Any:
    if isinstance(golden, dict):
        return {key: _without_new(now[key], old) for key, old in golden.items()}  # pyright: ignore[reportUnknownVariableType] - JSON
    if isinstance(golden, list):
        return [_without_new(new, old) for new, old in zip(now, golden, strict=True)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    return now


@pytest.mark.parametrize("name", MESSAGES)
def test_message_of_newer_code_decodes_in_this_code(name: str) -> None:
    """Unknown fields are ignored, because two versions run at once during a deployment."""
    newer = encoded(MESSAGES[name]) | {"added_later": {"a": 1}}
    assert decoded(json.dumps(newer).encode(), MESSAGES[name]) == MESSAGES[name]


def test_every_golden_belongs_to_a_message() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(MESSAGES)


def test_every_message_of_an_activity_or_workflow_has_a_golden() -> None:
    used: set[type[Any]] = set()
    owners = (
        ApprovalActivities, AssetActivities, ExecutionActivities, JobActivities, MediaActivities,
        WebhookActivities,
    )  # fmt: skip
    for owner in owners:
        for method in vars(owner).values():
            definition = getattr(method, "__temporal_activity_definition", None)
            if definition is not None:
                used |= {*definition.arg_types, definition.ret_type}
    for workflow in (ExecutionWorkflow, DeliverWebhookWorkflow):
        definition = getattr(workflow, "__temporal_workflow_definition")
        used |= {*definition.arg_types, definition.ret_type}
    assert used - {type(None), None} == {type(message) for message in MESSAGES.values()}
