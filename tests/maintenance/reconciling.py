"""A reconciler on the harness, with a fake Temporal."""

from core.maintenance.reconciler import Reconciler, ReconcilerTask, attempt, build_reconciler
from core.maintenance.repairs.workflow_repairs import WorkflowRepairs
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal


def make_reconciler(harness: ActivityHarness, temporal: FakeTemporal) -> Reconciler:
    return build_reconciler(
        client=temporal.client(),
        database=harness.database,
        objects=harness.objects,
        executions=harness.executions,
        open_bills=harness.open_bills,
        admission=harness.jobs.admission,
        task_queues=(),
    )


def make_repairs(harness: ActivityHarness, temporal: FakeTemporal) -> WorkflowRepairs:
    return WorkflowRepairs(
        client=temporal.client(), database=harness.database, executions=harness.executions
    )


def find_task(reconciler: Reconciler, name: str) -> ReconcilerTask:
    return next(task for task in reconciler.tasks if task.name == name)


async def run_all_tasks(harness: ActivityHarness, temporal: FakeTemporal) -> None:
    """Run every task of a new reconciler once, in order."""
    for task in make_reconciler(harness, temporal).tasks:
        await attempt(task)


async def run_task(harness: ActivityHarness, temporal: FakeTemporal, name: str) -> None:
    """Run one task of a new reconciler once; its errors are raised."""
    await find_task(make_reconciler(harness, temporal), name).run()


async def make_older(harness: ActivityHarness) -> None:
    """Make all executions a minute older."""
    await harness.as_owner(
        "UPDATE executions SET queued_at = queued_at - interval '1 min', started_at = started_at - interval '1 min'"
    )
