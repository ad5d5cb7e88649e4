"""The Temporal client on a real server: connection, search attributes, queue depth, the SDK's own
metrics.
"""

import asyncio
import os
import socket
import uuid
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client import REGISTRY
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.converter import DataConverter

from core.platform.settings.temporal import TemporalSettings
from core.platform.temporal.client import (
    RPC_TIMEOUT,
    UNREACHABLE,
    SearchAttributeTypeError,
    TemporalConnectError,
    connect,
    ensure_search_attributes,
    queue_backlogs,
)
from core.platform.temporal.search_attributes import COST_USD, PLAN_TYPE, PROVIDER, STATUS, USER_ID
from tests.support.servers import TemporalServer

connect_plainly = partial(connect, payloads=DataConverter.default)
ATTRIBUTES = TypedSearchAttributes(
    [
        SearchAttributePair(USER_ID, "usr_1"),
        SearchAttributePair(STATUS, "queued"),
        SearchAttributePair(PLAN_TYPE, "generate-video"),
        SearchAttributePair(PROVIDER, ["fal", "replicate"]),
        SearchAttributePair(COST_USD, 0.25),
    ]
)


@pytest.fixture(autouse=True)
def no_outside_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the variables and the configuration file of the person who runs the tests."""
    for name in os.environ:
        if name.startswith("TEMPORAL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def namespace(temporal_server: TemporalServer) -> str:
    """A namespace of its own, so that nothing is registered in it yet."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    client = await connect_plainly(settings_for(temporal_server))
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await client.workflow_service.register_namespace(request)
    return name


def settings_for(server: TemporalServer, namespace: str | None = None) -> TemporalSettings:
    return TemporalSettings(
        temporal_address=server.address, temporal_namespace=namespace or server.namespace
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


async def list_ids(client: Client, query: str, expected: int) -> list[str]:
    """Workflow ids by query; the index follows the start by about a second."""
    for _ in range(100):
        ids = [found.id async for found in client.list_workflows(query)]
        if len(ids) == expected:
            return ids
        await asyncio.sleep(0.1)
    raise AssertionError(f"not {expected} workflows with {query}")


async def test_search_attributes_register_once_for_many_processes(
    temporal_server: TemporalServer, namespace: str
) -> None:
    """Five at once, then again, and an execution is found by each of them."""
    clients = [await connect_plainly(settings_for(temporal_server, namespace)) for _ in range(5)]
    client = clients[0]
    assert await asyncio.gather(*(ensure_search_attributes(each) for each in clients)) == [True] * 5
    assert await ensure_search_attributes(client)
    workflow_id = f"exec_{uuid.uuid4().hex}"
    await client.start_workflow(
        "execution", id=workflow_id, task_queue="q", search_attributes=ATTRIBUTES
    )
    for query in (
        "UserId = 'usr_1'",
        "TakeoneStatus = 'queued'",
        "PlanType = 'generate-video'",
        "Provider = 'replicate'",
        "CostUsd > 0.2",
    ):
        assert await list_ids(client, query, 1) == [workflow_id]


async def test_search_attribute_of_another_type_is_refused(
    temporal_server: TemporalServer, namespace: str
) -> None:
    client = await connect_plainly(settings_for(temporal_server, namespace))
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=namespace,
            search_attributes={"CostUsd": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
        )
    )
    with pytest.raises(SearchAttributeTypeError, match="CostUsd"):
        await ensure_search_attributes(client)


async def test_search_attributes_of_an_unknown_namespace_name_the_setting(
    temporal_server: TemporalServer,
) -> None:
    client = await connect_plainly(settings_for(temporal_server, "no-such-namespace"))
    with pytest.raises(TemporalConnectError, match=r"TEMPORAL_NAMESPACE: .*no-such-namespace"):
        await ensure_search_attributes(client)


async def test_queue_backlog_counts_what_waits(temporal_server: TemporalServer) -> None:
    client = await connect_plainly(settings_for(temporal_server))
    queue = f"q-{uuid.uuid4().hex}"
    for number in range(3):
        await client.start_workflow("execution", id=f"{queue}-{number}", task_queue=queue)
    waiting = await queue_backlogs(client, [queue])
    for _ in range(50):
        if sum(backlog.tasks for backlog in waiting) == 3:
            break
        await asyncio.sleep(0.1)
        waiting = await queue_backlogs(client, [queue])
    assert [(backlog.kind, backlog.tasks, backlog.pollers) for backlog in waiting] == [
        ("workflow", 3, 0),
        ("activity", 0, 0),
    ]
    assert waiting[0].age_seconds > 0
    labels = {"task_queue": queue, "kind": "workflow"}
    assert REGISTRY.get_sample_value("takeone_task_queue_backlog", labels) == 3


async def test_connect_serves_the_metrics_of_the_sdk(temporal_server: TemporalServer) -> None:
    port = free_port()
    await connect_plainly(settings_for(temporal_server), metrics_port=port)
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics")
    assert "temporal_request_latency_seconds" in answer.text


async def test_connect_on_a_busy_metrics_port_names_the_setting(
    temporal_server: TemporalServer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port: int = busy.getsockname()[1]
        with pytest.raises(
            TemporalConnectError, match=f"SDK_METRICS_PORT: 127.0.0.1:{port} cannot be opened"
        ):
            await connect_plainly(settings_for(temporal_server), metrics_port=port)


async def test_refused_connection_names_the_setting_in_one_line() -> None:
    port = free_port()
    with pytest.raises(
        TemporalConnectError, match=f"TEMPORAL_ADDRESS: no connection to 127.0.0.1:{port}"
    ) as refused:
        await connect_plainly(TemporalSettings(temporal_address=f"127.0.0.1:{port}"))
    assert "\n" not in str(refused.value)


async def test_connect_lazily_needs_no_server_until_the_first_call() -> None:
    client = await connect_plainly(
        TemporalSettings(temporal_address=f"127.0.0.1:{free_port()}"), lazy=True
    )
    with pytest.raises(UNREACHABLE):
        await client.start_workflow(
            "execution", id="exec_1", task_queue="q", rpc_timeout=RPC_TIMEOUT
        )


async def test_connect_follows_environment_and_profile(
    temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Address from a profile of TEMPORAL_CONFIG_FILE, namespace from .env, which wins over the
    profile.
    """
    profile = tmp_path / "temporal.toml"
    profile.write_text(
        f'[profile.mine]\naddress = "{temporal_server.address}"\nnamespace = "profile"\n'
    )
    (tmp_path / ".env").write_text("TEMPORAL_NAMESPACE=from-env-file\n")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profile))
    monkeypatch.setenv("TEMPORAL_PROFILE", "mine")
    client = await connect_plainly(TemporalSettings())
    assert client.namespace == "from-env-file"
    assert client.service_client.config.target_host == temporal_server.address


async def test_connect_with_a_missing_profile_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "missing.toml"))
    monkeypatch.setenv("TEMPORAL_PROFILE", "missing")
    with pytest.raises(TemporalConnectError, match="TEMPORAL_CONFIG_FILE"):
        await connect_plainly(TemporalSettings())
