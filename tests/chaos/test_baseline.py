"""The baseline succeeds without faults and pays twice when its worker is killed."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client

from deploy.local.config import ROOT
from deploy.local.servers.process import Running, start, start_ready
from tests.chaos.baseline.runs import baseline_worker, begin, extra_paid, until_ended
from tests.sandbox.process import Receiver, Sandbox, environment
from tests.support.servers import TemporalServer

SOON_SECONDS = 3.0


@dataclass(slots=True)
class Stage:
    client: Client
    sandbox: Sandbox
    receiver: Receiver
    worker: Running

    async def fault_of(self, fault_id: str) -> dict[str, int]:
        faults = (await asyncio.to_thread(self.sandbox.client.get, "/__control/faults")).json()[
            "faults"
        ]
        return next(fault for fault in faults if fault["id"] == fault_id)


@pytest.fixture
async def stage(temporal_server: TemporalServer, tmp_path: Path) -> AsyncGenerator[Stage]:
    sandbox = Sandbox(tmp_path / "sandbox")
    sandbox.reset()
    part = baseline_worker(
        "Baseline 1",
        environment(
            PYTHONPATH=str(ROOT),
            TEMPORAL_ADDRESS=temporal_server.address,
            TEMPORAL_NAMESPACE=temporal_server.namespace,
            FAL_QUEUE_URL=f"{sandbox.url}/fal/queue",
            FAL_KEY="id:secret",
            REPLICATE_BASE_URL=f"{sandbox.url}/replicate",
            REPLICATE_API_TOKEN="r8_token",
        ),
        folder=tmp_path,
        log=tmp_path / "baseline.log",
    )
    client = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    try:
        with Receiver() as receiver:
            running = Stage(client, sandbox, receiver, await start_ready(part))
            yield running
            await running.worker.kill()
            running.worker.part.clean()
    finally:
        sandbox.stop()


async def test_baseline_makes_a_video_and_sends_its_webhook(stage: Stage) -> None:
    tokens = ["chaos-800001", "chaos-800002"]
    runs = await begin(stage.client, tokens, webhook=stage.receiver.url)
    ends = await until_ended(stage.client, runs, within_seconds=20)
    assert [end.completed for end in ends] == [True, True]
    assert {item.json()["executionId"] for item in stage.receiver.received} == {
        run.execution_id for run in runs
    }
    lines = stage.sandbox.bill()["lines"]
    assert (len(lines), extra_paid(lines, tokens)) == (4, 0)


async def test_baseline_pays_again_when_its_worker_dies_before_the_answer(stage: Stage) -> None:
    """The paid call of each video is held once billed; then the worker is killed and restarted."""
    tokens = [f"chaos-80001{number}" for number in range(3)]
    fault_id = stage.sandbox.fault(
        "hold",
        provider="replicate",
        times=3,
        params={"stage": "after_accept", "when_gone": "go_on"},
    )
    runs = await begin(
        stage.client, tokens, webhook=stage.receiver.url, call_limit_seconds=SOON_SECONDS
    )
    async with asyncio.timeout(15):
        while (await stage.fault_of(fault_id))["parked_total"] < 3:  # noqa: ASYNC110 - polls the sandbox
            await asyncio.sleep(0.05)
    await stage.worker.kill()
    stage.worker.part.clean()
    stage.worker = await start(stage.worker.part)
    ends = await until_ended(stage.client, runs, within_seconds=30)
    assert [end.completed for end in ends] == [True, True, True]
    assert extra_paid(stage.sandbox.bill()["lines"], tokens) == 3


async def test_baseline_pays_again_when_an_answer_is_lost(stage: Stage) -> None:
    fault_id = stage.sandbox.fault("drop_after_accept", times=2)
    runs = await begin(stage.client, ["chaos-800021", "chaos-800022"], webhook=stage.receiver.url)
    ends = await until_ended(stage.client, runs, within_seconds=20)
    assert [end.completed for end in ends] == [True, True]
    assert stage.sandbox.fired(fault_id) == 2
    assert extra_paid(stage.sandbox.bill()["lines"], [run.token for run in runs]) == 2


async def test_begin_refuses_tokens_that_are_not_unique(
    temporal_server: TemporalServer,
) -> None:
    client = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    with pytest.raises(ValueError, match="not a token"):
        await begin(client, ["video-1"], webhook="http://127.0.0.1:9/")
