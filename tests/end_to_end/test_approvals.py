"""A choice between drafts through the whole stack: killed processes lose no decision."""

import asyncio
import hashlib
import json
import os
import signal
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from tests.end_to_end.world import PROMPT, World

pytestmark = pytest.mark.guarantee("G2", "G3", "G5")

SENT = """
SELECT s.request::text AS request FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id
WHERE j.execution_id = $1 AND j.step_name = 'clip'
"""


async def order(world: World) -> str:
    """Order two drafts, of which one is chosen and made into a clip."""
    steps: list[dict[str, Any]] = [
        {"name": "draft", "kind": "image", "count": 2, "params": {"prompt": PROMPT}},
        {
            "name": "choose",
            "kind": "approval",
            "params": {"options": [{"step": "draft"}], "expiresAfterSeconds": 600},
        },
        {
            "name": "clip",
            "kind": "video",
            "params": {
                "prompt": PROMPT,
                "image": {"step": "choose"},
                "duration": 2,
                "resolution": "480p",
            },
        },
    ]
    plan = {"version": 1, "steps": steps, "outputs": {"chosen": {"step": "choose"}}}
    body = {"plan": plan, "webhook": world.receiver.url}
    answer = await world.api.post("/api/executions", json=body)
    assert answer.status_code == 202, answer.text
    execution_id: str = answer.json()["executionId"]
    world.ids.append(execution_id)
    return execution_id


async def waiting(world: World, execution_id: str) -> dict[str, Any]:
    """Wait until the execution waits for a decision, and return for what."""
    found: list[dict[str, Any]] = []

    async def waits() -> bool:
        found[:] = (await world.get(execution_id))["waitingFor"]
        return bool(found)

    await world.until_true(waits, "it does not wait for a decision", seconds=60)
    return found[0]


async def event(world: World, execution_id: str, kind: str) -> dict[str, Any]:
    """Wait for an event of the execution, verified with the official package."""
    seen: dict[str, Any] = {}

    async def arrived() -> bool:
        for received in list(world.receiver.received):
            if execution_id.encode() in received.body and json.loads(received.body)["type"] == kind:
                seen.update(
                    Webhook(world.user.webhook_secret).verify(received.body, received.headers)
                )
        return bool(seen)

    await world.until_true(arrived, f"no event {kind} arrived", seconds=60)
    return seen


async def signalled_by(world: World, execution_id: str) -> list[str]:
    """Return who sent the signals of decisions."""
    handle = (await world.temporal()).get_workflow_handle(execution_id)
    return [
        item.workflow_execution_signaled_event_attributes.identity
        async for item in handle.fetch_history_events()
        if item.HasField("workflow_execution_signaled_event_attributes")
    ]


async def approve_while_everything_dies(world: World, execution_id: str, option: str) -> int:
    """Kill the API after it has committed the decision, and Temporal before it has the signal.

    Return the process id of the API that was killed.
    """
    api, temporal = world.stack.pid_of("API"), world.stack.pid_of("Temporal")
    os.kill(temporal, signal.SIGSTOP)
    path = f"/api/executions/{execution_id}/approve"
    approving = asyncio.create_task(world.api.post(path, json={"step": "choose", "option": option}))

    async def committed() -> bool:
        sql = "SELECT 1 FROM approvals WHERE execution_id = $1 AND decided_at IS NOT NULL"
        return bool(await world.rows(sql, execution_id))

    try:
        await world.until_true(committed, "the decision was not committed")
        os.kill(api, signal.SIGKILL)
    finally:
        os.kill(temporal, signal.SIGKILL)  # with the signal that it has not read
    with pytest.raises(httpx.TransportError):
        await approving
    return api


@pytest.mark.timeout(240)
async def test_killed_processes_lose_no_decision(world: World) -> None:
    execution_id = await order(world)
    shown = await waiting(world, execution_id)
    seen = await world.get(execution_id)
    assert seen["status"] == "running"
    assert len(await world.bill_of(execution_id)) == 2, "only the drafts are bought"
    assert shown["rest"]["steps"] == ["clip"]
    assert shown["rest"]["worst"] == seen["cost"]["held"] != "0"
    async with httpx.AsyncClient(trust_env=False) as cdn:
        for option in shown["options"]:
            (file,) = option["assets"]
            content = (await cdn.get(file["url"])).raise_for_status().content
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
    told = await event(world, execution_id, "execution.waiting_for_approval")
    assert told["waitingFor"]["rest"] == shown["rest"]

    worker = world.stack.pid_of("Worker")
    os.kill(worker, signal.SIGKILL)
    api = await approve_while_everything_dies(world, execution_id, "draft-2")
    seen = await world.ended(execution_id, seconds=150)
    assert seen["status"] == "completed", seen
    assert worker != world.stack.pid_of("Worker")
    senders = await signalled_by(world, execution_id)
    assert senders, "the reconciler repeats the signal"
    assert not any(sender.startswith(f"{api}@") for sender in senders)

    assert len(await world.bill_of(execution_id)) == 3
    await world.check_money(execution_id)
    chosen = next(option for option in shown["options"] if option["step"] == "draft-2")
    assert seen["result"]["outputs"]["chosen"]["id"] == chosen["assets"][0]["id"]
    assert (
        next(job for job in seen["jobs"] if job["step"] == "choose")["reusedFrom"]
        == (chosen["jobId"])
    )
    (sent,) = await world.rows(SENT, execution_id)
    assert chosen["assets"][0]["url"].rpartition("/")[2] in sent["request"]
    done = await event(world, execution_id, "execution.completed")
    assert done["sequence"] == told["sequence"] + 1

    path = f"/api/executions/{execution_id}/approve"
    again = await world.api.post(path, json={"step": "choose", "option": "draft-2"})
    assert (again.status_code, again.json()["option"]) == (200, "draft-2")
    other = await world.api.post(path, json={"step": "choose", "option": "draft-1"})
    assert (other.status_code, other.json()["code"]) == (409, "approval_decided")
