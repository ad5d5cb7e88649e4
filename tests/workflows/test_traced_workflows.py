"""A traced execution that is replayed at each of its tasks: every span once, with its parent."""

from collections.abc import Iterator

import pytest
from temporalio.client import Client

from core.ordering.workflow_starts import DELIVER_WEBHOOK_WORKFLOW
from core.platform.observability import tracing
from core.platform.temporal.tracing_interceptor import LONG_WORKFLOWS, TracingInterceptor
from tests.unit.platform.test_tracing import Kept
from tests.workflows.scenarios import SCENARIOS, play


@pytest.fixture
def kept() -> Iterator[Kept]:
    exporter = Kept()
    tracing.start(exporter, 1.0)
    yield exporter
    tracing.stop()


@pytest.mark.long
async def test_replayed_workflow_exports_each_span_once(
    skipping_temporal: Client, kept: Kept
) -> None:
    config = skipping_temporal.config()
    config["interceptors"] = [TracingInterceptor()]
    with tracing.span("request"):
        played = await play(Client(**config), SCENARIOS["happy"], cached=0)
    (request,) = [span for span in kept.spans if span.name == "request"]
    (execution,) = [span for span in kept.spans if span.name == "workflow execution"]
    activities = [span for span in kept.spans if span.name.startswith("activity ")]
    assert execution.parent == request.context
    assert {span.parent for span in activities} == {execution.context}
    assert len({span.context.span_id for span in kept.spans}) == len(kept.spans)
    assert len(activities) == len(played.stage.calls)
    assert {span.error for span in kept.spans} == {None}


def test_long_workflows_are_those_that_wait_for_days() -> None:
    assert {DELIVER_WEBHOOK_WORKFLOW} == LONG_WORKFLOWS
