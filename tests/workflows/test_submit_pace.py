"""What the settings allow a second at a provider is kept over all workers: Temporal hands out the
tasks.
"""

import asyncio
import time
from datetime import timedelta
from itertools import pairwise

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from core.jobs.submission.admission import submit_rate
from core.platform.settings.providers import ProviderSettings
from core.platform.temporal.policies import EXECUTIONS_QUEUE, submit_queue
from tests.support.servers import TemporalServer

QUEUE, WORKFLOWS = submit_queue("paced"), f"{EXECUTIONS_QUEUE}-paced"
A_SECOND, CALLS = 4, 24
NAMES = ("fal", "replicate")


def settings(**more: float) -> ProviderSettings:
    return ProviderSettings.model_validate(
        {"fal_key": "id:secret", "replicate_api_token": "r8_token", **more}
    )


@workflow.defn(name="many_submits", sandboxed=False)
class ManySubmits:
    @workflow.run
    async def run(self, calls: int) -> None:
        one = timedelta(seconds=60)
        await asyncio.gather(
            *(
                workflow.execute_activity(
                    "paced_submit", task_queue=QUEUE, start_to_close_timeout=one
                )
                for _ in range(calls)
            )
        )


async def test_rate_limit_holds_for_two_workers_together(
    temporal_server: TemporalServer,
) -> None:
    address, namespace = temporal_server.address, temporal_server.namespace
    client, other = [
        await Client.connect(address, namespace=namespace) for _ in range(2)
    ]  # one for each process
    times: list[float] = []

    @activity.defn(name="paced_submit")
    async def submit() -> None:
        times.append(time.monotonic())

    rate = submit_rate(settings(fal_submits_per_second=A_SECOND), "fal")
    both = [
        Worker(
            one, task_queue=QUEUE, activities=[submit], max_task_queue_activities_per_second=rate
        )
        for one in (client, other)
    ]
    walks = Worker(
        client,
        task_queue=WORKFLOWS,
        workflows=[ManySubmits],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with both[0], both[1], walks:
        await client.execute_workflow(
            ManySubmits.run, CALLS, id="many-submits", task_queue=WORKFLOWS
        )
    assert len(times) == CALLS
    after_the_burst = times[A_SECOND:]
    took = after_the_burst[-1] - after_the_burst[0]
    assert took >= 0.8 * (len(after_the_burst) - 1) / A_SECOND, [
        round(b - a, 2) for a, b in pairwise(times)
    ]


def test_rate_limit_is_per_provider_and_0_means_none() -> None:
    limits = settings(fal_submits_per_second=0, replicate_submits_per_second=2.5)
    assert [submit_rate(limits, name) for name in NAMES] == [None, 2.5]
