"""Wire names that are written twice: in a workflow definition and in the code that starts it."""

from core.ordering.workflow_starts import (
    APPROVAL_DECIDED,
    CANCEL_REQUESTED,
    DELIVER_WEBHOOK_WORKFLOW,
    EXECUTION_WORKFLOW,
    RETRY_QUEUED,
)
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.execution import ExecutionWorkflow


def test_workflows_are_started_by_the_names_they_define() -> None:
    execution = getattr(ExecutionWorkflow, "__temporal_workflow_definition")
    delivery = getattr(DeliverWebhookWorkflow, "__temporal_workflow_definition")

    assert execution.name == EXECUTION_WORKFLOW
    assert delivery.name == DELIVER_WEBHOOK_WORKFLOW
    assert {APPROVAL_DECIDED, CANCEL_REQUESTED, RETRY_QUEUED} <= set(execution.signals)
