"""What a real Temporal server is given of a workflow when payloads are encrypted, looked at as the
server keeps it.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from core.platform.crypto.sealing import key_id
from core.platform.temporal.payload_encryption import ENCODING
from tests.support.sealed import PayloadKeys, like
from tests.support.servers import TemporalServer
from tests.workflows.scenarios import SCENARIOS, play
from workflows.execution import ExecutionWorkflow

pytestmark = pytest.mark.guarantee("G6")

PLANTED = "canary-7Qm2xR9w"
PROBE = "payload-probe"
OLD, NEW = b"o" * 32, b"n" * 32
ENCODED_FAILURE = "Encoded failure"


def in_clear(message: Message) -> list[str]:
    """Return every unsealed payload and every readable failure, by its place."""
    return list(_in_clear(MessageToDict(message), ""))


def _in_clear(value: object, place: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, item in enumerate(cast("list[object]", value)):
            yield from _in_clear(item, f"{place}[{number}]")
    if not isinstance(value, dict):
        return
    fields = cast("dict[str, Any]", value)
    encoding: object = (
        fields["metadata"].get("encoding") if isinstance(fields.get("metadata"), dict) else None
    )
    if encoding is not None and base64.b64decode(str(encoding)) != ENCODING:
        yield place
    is_failure = any(name.endswith("FailureInfo") for name in fields)
    if is_failure and fields.get("source") != "Server" and fields.get("message") != ENCODED_FAILURE:
        yield f"{place}.message"
    if fields.get("stackTrace"):
        yield f"{place}.stackTrace"
    for name, item in fields.items():
        # By the first the server finds workflows. The second is what the SDK's core notes of a
        # local activity, its name and its times; the result of the activity is next to it. The
        # third is the name of a patch in the workflow's code.
        if name == "searchAttributes" or (
            name in ("data", "patch-data")
            and place.endswith("markerRecordedEventAttributes.details")
        ):
            continue
        yield from _in_clear(item, f"{place}.{name}")


def sealed_in(message: Message) -> int:
    return json.dumps(MessageToDict(message)).count(base64.b64encode(ENCODING).decode())


@pytest.mark.parametrize("name", ["submit_lost", "storage_away", "signal_while_waiting"])
async def test_execution_is_walked_and_replayed_with_nothing_in_clear(
    skipping_temporal: Client, name: str
) -> None:
    client = like(skipping_temporal, PayloadKeys(keys=(NEW,)))
    played = await play(client, SCENARIOS[name])
    assert played.stage.status is SCENARIOS[name].status
    history = await played.handle.fetch_history()
    for event in history.events:
        assert in_clear(event) == []
    assert sum(sealed_in(event) for event in history.events) > 10
    converter = client.data_converter
    await Replayer(workflows=[ExecutionWorkflow], data_converter=converter).replay_workflow(history)


async def test_the_look_for_what_is_in_clear_finds_it(skipping_temporal: Client) -> None:
    """That the test above can fail: the same walk without encryption."""
    played = await play(skipping_temporal, SCENARIOS["submit_lost"])
    found = [
        place for event in (await played.handle.fetch_history()).events for place in in_clear(event)
    ]
    assert len(found) > 10
    assert {place.rpartition(".")[2] for place in found} >= {"message", "stackTrace", "payloads[0]"}


@workflow.defn(name=PROBE)
class Broken:
    @workflow.run
    async def run(self, _given: str) -> str:
        raise RuntimeError(PLANTED)


@workflow.defn(name=PROBE)
class Probe:
    """Everything that a workflow and its activities may leave at the server."""

    def __init__(self) -> None:
        self._told = ""

    @workflow.run
    async def run(self, given: str) -> str:
        await workflow.wait_condition(lambda: bool(self._told), timeout_summary=PLANTED)
        workflow.upsert_memo({"later": PLANTED})
        done = await workflow.execute_activity(
            "probe",
            given,
            result_type=str,
            start_to_close_timeout=timedelta(seconds=20),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=10), maximum_attempts=5
            ),
            summary=PLANTED,
        )
        try:
            await workflow.execute_local_activity(
                "local_probe",
                given,
                start_to_close_timeout=timedelta(seconds=5),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except Exception as error:
            raise ApplicationError(f"{PLANTED}: {done} {self._told}", PLANTED) from error
        return done

    @workflow.signal
    def record(self, what: str) -> None:
        self._told = what


class Probing:
    """The second try holds until it was looked at."""

    def __init__(self) -> None:
        self.held, self.looked_at = asyncio.Event(), asyncio.Event()

    @activity.defn(name="probe")
    async def probe(self, given: str) -> str:
        activity.heartbeat(PLANTED)
        if activity.info().attempt == 1:
            raise ApplicationError(PLANTED, {"given": given}) from ValueError(PLANTED)
        self.held.set()
        await self.looked_at.wait()
        return f"done with {given}"

    @activity.defn(name="local_probe")
    async def local_probe(self, given: str) -> str:
        raise ApplicationError(f"{PLANTED} {given}")


@asynccontextmanager
async def working(client: Client, queue: str, kind: type, probing: Probing) -> AsyncGenerator[None]:
    async with Worker(
        client,
        task_queue=queue,
        workflows=[kind],
        activities=[probing.probe, probing.local_probe],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    ):
        yield


async def until_event(client: Client, workflow_id: str, kind: EventType.ValueType) -> None:
    async def happened() -> bool:
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        return any(event.event_type == kind for event in history.events)

    async with asyncio.timeout(20):
        while not await happened():  # noqa: ASYNC110 - another process, no event
            await asyncio.sleep(0.05)


async def test_bug_in_a_workflow_leaves_nothing_in_clear(temporal_server: TemporalServer) -> None:
    plain = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    client, queue, workflow_id = (
        like(plain, PayloadKeys(keys=(NEW,))),
        f"q-{uuid4()}",
        f"probe-{uuid4()}",
    )
    handle = await client.start_workflow(PROBE, PLANTED, id=workflow_id, task_queue=queue)
    async with working(client, queue, Broken, Probing()):
        await until_event(plain, workflow_id, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    events = (await handle.fetch_history()).events
    await handle.terminate()
    assert ENCODED_FAILURE in str([MessageToDict(event) for event in events])
    for event in events:
        assert in_clear(event) == []
        assert PLANTED.encode() not in event.SerializeToString()


async def test_failures_retries_and_heartbeats_leave_nothing_in_clear(
    temporal_server: TemporalServer,
) -> None:
    plain = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    client, queue, workflow_id = (
        like(plain, PayloadKeys(keys=(NEW,))),
        f"q-{uuid4()}",
        f"probe-{uuid4()}",
    )
    probing = Probing()
    handle = await client.start_workflow(
        PROBE,
        PLANTED,
        id=workflow_id,
        task_queue=queue,
        memo={"accepted": PLANTED},
        static_summary=PLANTED,
        static_details=PLANTED,
    )
    await handle.signal("record", PLANTED)
    async with working(client, queue, Probe, probing), asyncio.timeout(40):
        await probing.held.wait()
        running = (await handle.describe()).raw_description
        probing.looked_at.set()
        with pytest.raises(Exception, match="Workflow execution failed") as failed:
            await handle.result()
    assert PLANTED in str(failed.value.__cause__), "the caller is told what went wrong"
    (pending,) = running.pending_activities
    assert pending.last_failure.message == ENCODED_FAILURE
    assert len(pending.heartbeat_details.payloads) == 1
    history = await handle.fetch_history()
    kept = [*history.events, running, (await handle.describe()).raw_description]
    for message in kept:
        assert in_clear(message) == []
        assert PLANTED.encode() not in message.SerializeToString()
    assert sum(sealed_in(message) for message in kept) > 20


async def test_workflow_survives_changes_of_encryption_and_keys(
    temporal_server: TemporalServer,
) -> None:
    """As when the setting, and then the key, is changed under running workflows."""
    plain = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    off = like(plain, PayloadKeys(keys=(OLD,), temporal_encrypt_payloads=False))
    on, rotated = like(plain, PayloadKeys(keys=(OLD,))), like(plain, PayloadKeys(keys=(NEW, OLD)))
    off_again = like(plain, PayloadKeys(keys=(NEW, OLD), temporal_encrypt_payloads=False))
    queue, workflow_id = f"q-{uuid4()}", f"probe-{uuid4()}"
    probing = Probing()
    await off.start_workflow(PROBE, PLANTED, id=workflow_id, task_queue=queue)
    await on.get_workflow_handle(workflow_id).signal("record", PLANTED)
    async with working(on, queue, Probe, probing), asyncio.timeout(40):
        await probing.held.wait()
    probing.looked_at.set()
    async with working(rotated, queue, Probe, probing), asyncio.timeout(40):
        handle = off_again.get_workflow_handle(workflow_id)
        with pytest.raises(Exception, match="Workflow execution failed") as failed:
            await handle.result()
    assert f"done with {PLANTED} {PLANTED}" in str(failed.value.__cause__)
    history = await handle.fetch_history()
    assert PLANTED.encode() in history.events[0].SerializeToString(), "it did begin in clear"
    assert PLANTED.encode() not in b"".join(
        event.SerializeToString() for event in history.events[1:]
    )
    everything = b"".join(event.SerializeToString() for event in history.events)
    assert [key_id(key).encode() in everything for key in (OLD, NEW)] == [True, True]


@pytest.mark.long
async def test_workflow_whose_key_is_missing_waits_for_it(temporal_server: TemporalServer) -> None:
    """A worker without the key fails its tasks and keeps running; with the key the workflow
    continues after Temporal's retry pause.
    """
    plain = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    new, old = like(plain, PayloadKeys(keys=(NEW,))), like(plain, PayloadKeys(keys=(OLD,)))
    queue, workflow_id = f"q-{uuid4()}", f"probe-{uuid4()}"
    probing = Probing()
    probing.looked_at.set()
    handle = await new.start_workflow(PROBE, PLANTED, id=workflow_id, task_queue=queue)
    async with working(old, queue, Probe, probing):
        await until_event(plain, workflow_id, EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED)
    await handle.signal("record", PLANTED)
    async with (
        working(like(plain, PayloadKeys(keys=(OLD, NEW))), queue, Probe, probing),
        asyncio.timeout(60),
    ):
        with pytest.raises(Exception, match="Workflow execution failed") as failed:
            await (
                like(plain, PayloadKeys(keys=(OLD, NEW))).get_workflow_handle(workflow_id).result()
            )
    assert f"done with {PLANTED} {PLANTED}" in str(failed.value.__cause__)
