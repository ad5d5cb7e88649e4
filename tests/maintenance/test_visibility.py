"""Running executions are compared with the list of running workflows in Temporal."""

import asyncio

import pytest
from temporalio.client import (
    Client,
    DescribeWorkflowInput,
    Interceptor,
    OutboundInterceptor,
    WorkflowExecutionDescription,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes

import core.maintenance.repairs.workflow_repairs
from core.maintenance.repairs.workflow_queries import (
    count_running_workflows,
    list_running_workflows,
)
from core.maintenance.repairs.workflow_repairs import WorkflowRepairs
from core.ordering.workflow_starts import EXECUTION_WORKFLOW, start_execution
from core.platform.temporal.client import ensure_search_attributes
from core.platform.temporal.search_attributes import STATUS
from core.store.executions.unfinished import get_order
from tests.maintenance.reconciling import make_older, make_repairs, run_task
from tests.maintenance.test_reconciler import status
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.rows import Accepted
from tests.support.servers import TemporalServer

pytestmark = pytest.mark.guarantee("G5")


@pytest.fixture
async def client(temporal_server: TemporalServer) -> Client:
    connected = await Client.connect(temporal_server.address, namespace=temporal_server.namespace)
    await ensure_search_attributes(connected)
    return connected


class Looks(Interceptor):
    """Records which workflows a client describes."""

    def __init__(self) -> None:
        self.described: list[str] = []

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Looking(next, self.described)


class _Looking(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, described: list[str]) -> None:
        super().__init__(next)
        self._described = described

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        self._described.append(input.id)
        return await super().describe_workflow(input)


async def test_reconciler_describes_only_what_the_list_lacks(
    harness: ActivityHarness,
) -> None:
    listed, missing = [await harness.accepted() for _ in range(2)]
    await make_older(harness)
    temporal = FakeTemporal(listed=[listed.execution_id])
    await run_task(harness, temporal, "check_running")
    assert temporal.described == [missing.execution_id]
    # The list is behind: the workflow runs.
    assert (temporal.started, await status(harness, missing)) == ([], ("running", None))
    temporal.close_status = "terminated"
    await run_task(harness, temporal, "check_running")
    assert await status(harness, missing) == ("failed", "terminated")
    assert await status(harness, listed) == ("running", None)


async def test_reconciler_compares_a_bounded_number_in_each_run(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SLICE", 2), ("SLICES", 2), ("PAGE", 1)):
        monkeypatch.setattr(core.maintenance.repairs.workflow_repairs, name, value)
    ids = [(await harness.accepted()).execution_id for _ in range(5)]
    await make_older(harness)
    temporal = FakeTemporal(listed=ids)
    repairs = make_repairs(harness, temporal)
    await repairs.check_running()  # two slices of two
    temporal.listed = []
    await repairs.check_running()
    assert temporal.described == ids[4:]
    for _ in range(4):
        await repairs.check_running()  # one single look in each run
    assert temporal.described == [ids[4], *ids[:4]]


async def test_difference_is_narrowed_down_by_counts(
    harness: ActivityHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list costs far more than a count, and executions begin and end in every round."""
    monkeypatch.setattr(core.maintenance.repairs.workflow_repairs, "LISTED", 2)
    ids = [(await harness.accepted()).execution_id for _ in range(9)]
    await make_older(harness)
    missing = (ids[2], ids[7])
    temporal = FakeTemporal(listed=[one for one in ids if one not in missing])
    await make_repairs(harness, temporal).check_running()
    assert temporal.described == list(missing)
    assert temporal.lists == [1, 1]


async def start(harness: ActivityHarness, client: Client) -> Accepted:
    """Start the workflow of a running execution. It runs on, because no worker serves it."""
    accepted = await harness.accepted()
    async with harness.database.as_system() as conn:
        stored = await get_order(conn, accepted.execution_id)
    await start_execution(client, harness.database, stored.order(), prompt=stored.prompt)
    return accepted


async def test_execution_starts_with_the_status_running(
    harness: ActivityHarness, client: Client
) -> None:
    """Its workflow changes the status only at its end."""
    started = await start(harness, client)
    description = await client.get_workflow_handle(started.execution_id).describe()
    assert description.typed_search_attributes.get(STATUS) == "running"


async def until_listed(
    client: Client, ends: tuple[Accepted, Accepted], expected: set[Accepted]
) -> None:
    """Wait until the list of a range of ids has exactly these. It is some time behind."""
    first, last = (end.execution_id for end in ends)
    ids = {accepted.execution_id for accepted in expected}
    while True:
        counted = await count_running_workflows(client, first, last)
        if counted == len(ids) and await list_running_workflows(client, first, last) == ids:
            return
        await asyncio.sleep(0.2)


async def test_workflow_that_attempts_its_webhook_is_not_listed_as_running(
    harness: ActivityHarness, client: Client
) -> None:
    """Its execution has ended, so the count would never equal that of the rows."""
    first = await start(harness, client)
    accepted = await harness.accepted()
    ended = TypedSearchAttributes([SearchAttributePair(STATUS, "completed")])
    await client.start_workflow(
        EXECUTION_WORKFLOW, id=accepted.execution_id, task_queue="none", search_attributes=ended
    )
    last = await start(harness, client)
    await until_listed(client, (first, last), {first, last})


async def test_reconciler_ends_a_terminated_workflow_that_left_the_list(
    harness: ActivityHarness, client: Client
) -> None:
    before, runs, terminated, after = [await start(harness, client) for _ in range(4)]
    await until_listed(client, (before, after), {before, runs, terminated, after})
    # Without the two that are beyond the range.
    await until_listed(client, (runs, terminated), {runs, terminated})
    await client.get_workflow_handle(terminated.execution_id).terminate()
    await until_listed(client, (runs, terminated), {runs})
    await make_older(harness)
    looks = Looks()
    repairs = WorkflowRepairs(
        client=Client(client.service_client, namespace=client.namespace, interceptors=[looks]),
        database=harness.database,
        executions=harness.executions,
    )
    await repairs.check_running()
    # Twice: to learn that it has closed, and whether it had ended its generation.
    assert looks.described == [terminated.execution_id] * 2
    async with harness.database.as_system() as conn:
        rows = await conn.fetch("SELECT execution_id, status FROM executions")
    states = {row["execution_id"]: row["status"] for row in rows}
    assert states == {
        before.execution_id: "running",
        runs.execution_id: "running",
        terminated.execution_id: "failed",
        after.execution_id: "running",
    }
