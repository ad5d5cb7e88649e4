"""One trace from the request through the workflow to the receiver, and what it never contains."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from deploy.local.ports import free_ports
from deploy.local.product import api
from deploy.local.servers.process import start_ready
from tests.end_to_end.world import MODELS, World
from tests.support.collector import Collector, attributes_of
from tests.support.receiver import Receiver, reply
from tests.support.rollout import Rollout, retry_at_once
from tests.support.stack_ports import receiver_port

pytestmark = [pytest.mark.long, pytest.mark.guarantee("G6")]

BUILD = "traced"
STEPS = {
    "activity claim_execution",
    "activity submit_job",
    "provider create",
    "activity store_assets",
    "activity finish_execution",
    "activity deliver_webhook_once",
    "webhook post",
    "workflow execution",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """An API and a worker that export every trace. world: sends its requests to this API."""

    world: World
    collector: Collector
    rollout: Rollout

    @classmethod
    @asynccontextmanager
    async def open(cls, world: World) -> "AsyncGenerator[Traced]":
        with Collector.open() as collector:
            stack = world.stack
            before, url = dict(stack.environment), world.api.base_url
            (port, metrics) = free_ports(2)
            stack.environment |= {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_TRACES_SAMPLER_ARG": "1",
            }
            # Providers call this API back.
            stack.environment["PUBLIC_URL"] = f"http://127.0.0.1:{port}"
            config = replace(
                stack.config, ports=replace(stack.config.ports, api=port, api_metrics=metrics)
            )
            part = api(config, stack.environment | {"API_PORT": str(port)})
            served = await start_ready(
                replace(part, name="API traced", log=config.logs / "api-traced.log")
            )
            try:
                async with Rollout.open(stack, await world.temporal()) as rollout:
                    await rollout.start(BUILD)
                    await rollout.make_current(BUILD)
                    world.api.base_url = httpx.URL(config.api_url)
                    yield cls(world=world, collector=collector, rollout=rollout)
            finally:
                world.api.base_url = url
                stack.environment.clear()
                stack.environment |= before
                await served.stop()

    async def until_exported(self, trace_id: str, *names: str) -> list[Span]:
        async def exported() -> bool:
            return set(names) <= {span.name for span in self.collector.spans(trace_id)}

        await self.world.until_true(
            exported,
            lambda: f"exported: {[span.name for span in self.collector.spans(trace_id)]}",
            seconds=30,
        )
        return self.collector.spans(trace_id)

    async def order(self, **body: Any) -> tuple[str, str]:
        """Order a video; return the ids of its execution and of its trace."""
        request = {"prompt": "a kite", "duration": 2, "resolution": "480p", **body}
        answer = await self.world.api.post("/api/generate-video", json=request)
        assert answer.status_code == 202, answer.text
        execution_id: str = answer.json()["executionId"]
        return execution_id, answer.headers["trace-id"]


def linked(span: Span) -> list[str]:
    return [link.trace_id.hex() for link in span.links]


@pytest.mark.timeout(240)
async def test_trace_leads_from_the_request_to_the_receiver(world: World) -> None:
    canary, token = secrets.token_hex(16), secrets.token_hex(16)
    async with Traced.open(world) as traced:
        url = f"{world.receiver.url}?token={token}"
        execution_id, trace_id = await traced.order(
            prompt=canary, webhook=url, metadata={"a": canary}
        )
        assert (await world.ended(execution_id))["status"] == "completed"
        await world.webhook(execution_id)
        spans = await traced.until_exported(trace_id, "POST /api/generate-video", *STEPS)
        await check_callbacks(traced, trace_id)

        (problem,) = [await world.api.get("/api/executions/exec_0")]
        assert problem.json()["traceId"] == problem.headers["trace-id"]

    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans), "a span was exported twice"
    (root,) = [span for span in spans if span.parent_span_id not in ids]
    assert root.name == "POST /api/generate-video"
    assert attributes_of(root)["takeone.execution_id"] == execution_id
    (received,) = [each for each in world.receiver.received if execution_id.encode() in each.body]
    (post,) = [span for span in spans if span.name == "webhook post"]
    assert received.headers["traceparent"] == f"00-{trace_id}-{post.span_id.hex()}-01"
    exported = b"".join(traced.collector.exports)
    planted = [canary, token, world.user.api_key, world.user.webhook_secret, "127.0.0.1:"]
    assert [text for text in planted if text.encode() in exported] == []
    logs = [world.stack.config.logs / name for name in ("api-traced.log", f"worker-{BUILD}.log")]
    assert all(f'"trace_id": "{trace_id}"' in log.read_text() for log in logs)


async def check_callbacks(traced: Traced, trace_id: str) -> None:
    """Check that callbacks have traces of their own, with a link."""
    name = "POST /callbacks/{provider}/{token}"

    async def exported() -> bool:
        return len(traced.collector.named(name)) >= 2

    await traced.world.until_true(exported, "callbacks were not exported", seconds=30)
    callbacks = traced.collector.named(name)
    assert all(linked(span) == [trace_id] for span in callbacks)
    assert trace_id not in {span.trace_id.hex() for span in callbacks}


@pytest.mark.timeout(240)
async def test_retries_and_deliveries_are_linked_traces(world: World) -> None:
    async with (
        Traced.open(world) as traced,
        Receiver.open(reply(503), port=receiver_port(world.stack.config)) as dead,
    ):
        await world.fault(
            "moderated", provider="replicate", model=MODELS["replicate"]["videoModel"]
        )
        execution_id, ordered = await traced.order(webhook=dead.url)
        assert (await world.ended(execution_id))["status"] == "failed"

        async def attempted() -> bool:
            return len(dead.received) == 2

        await world.until_true(attempted, "no second attempt", seconds=60)
        dead.answers = [reply(200)]
        delivery = f"deliver/{dead.received[0].headers['webhook-id']}/1"
        await retry_at_once(traced.rollout.deployment.client, delivery)
        await traced.rollout.deployment.client.get_workflow_handle(delivery).result()

        answer = await world.api.post(f"/api/executions/{execution_id}/retry")
        assert answer.status_code == 202, answer.text
        retried = answer.headers["trace-id"]
        assert (await world.ended(execution_id))["status"] == "completed"
        spans = await traced.until_exported(retried, "workflow execution", "activity submit_job")
        (root,) = [span for span in spans if span.name.startswith("POST /api/executions/")]
        assert linked(root) == [ordered]

        async def delivered() -> bool:
            return len(traced.collector.named("activity attempt_webhook")) == 2

        await world.until_true(delivered, "attempts were not exported", seconds=30)
    attempts = traced.collector.named("activity attempt_webhook")
    traces = {span.trace_id.hex() for span in attempts}
    assert len(traces | {ordered, retried}) == 4
    assert [linked(span) for span in attempts] == [[ordered]] * 2


@pytest.mark.timeout(120)
async def test_collector_that_is_down_slows_no_request(world: World) -> None:
    """The exporter reports once that it cannot export, and requests are served as usual."""
    async with Traced.open(world) as traced:
        log = world.stack.config.logs / "api-traced.log"
        began = len(log.read_text())
        with traced.collector.refusing():
            answers = [await world.api.get("/api/models") for _ in range(3)]

            async def reported() -> bool:
                return "tracing.export_failed" in log.read_text()[began:]

            await world.until_true(reported, "no failed export", seconds=30)
            answers += [await world.api.get("/api/models") for _ in range(3)]
        assert {answer.status_code for answer in answers} == {200}
        assert log.read_text()[began:].count("tracing.export_failed") == 1
