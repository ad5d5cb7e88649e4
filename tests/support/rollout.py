"""Versioned workers alongside a stack, and the version that receives new executions."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.enums.v1 import EventType, RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest, ResetActivityRequest
from temporalio.client import Client

from deploy.local.ports import free_ports
from deploy.local.product import worker
from deploy.local.servers.process import Running, start_ready
from deploy.local.servers.programs import program
from deploy.local.stack import Stack

DEPLOYMENT = "takeone"
TRIES_SECONDS = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A Worker Deployment at a server on this machine."""

    client: Client
    address: str
    name: str = DEPLOYMENT

    async def make_current(self, build_id: str | None) -> None:
        """Give new executions to a version, with the command of the docs; None: unversioned."""
        chosen = ("--unversioned",) if build_id is None else ("--build-id", build_id)
        async with asyncio.timeout(TRIES_SECONDS):
            # A version is there some time after its workers poll.
            while not await asyncio.to_thread(self._set_current, *chosen):  # noqa: ASYNC110 - it sets no event
                await asyncio.sleep(0.3)
            await self.until_routed(build_id)

    async def until_routed(self, build_id: str | None) -> None:
        """Wait until every task queue gives new executions to a version."""
        while not _is_routed(await self._describe(), build_id):  # noqa: ASYNC110 - Temporal sets no event
            await asyncio.sleep(0.1)

    def _set_current(self, *chosen: str) -> bool:
        done = subprocess.run(
            [
                str(program("temporal")), "worker", "deployment", "set-current-version",
                "--address", self.address, "--namespace", self.client.namespace,
                "--deployment-name", self.name, *chosen, "--yes",
            ],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            check=False,
        )  # fmt: skip
        return done.returncode == 0

    async def _describe(self) -> WorkerDeploymentInfo:
        answer = await self.client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(
                namespace=self.client.namespace, deployment_name=self.name
            )
        )
        return answer.worker_deployment_info


@dataclass(slots=True, kw_only=True)
class Rollout:
    """The versioned workers of a stack, by build id."""

    stack: Stack
    deployment: Deployment
    workers: dict[str, Running] = field(default_factory=dict[str, Running])

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: Stack, client: Client) -> AsyncGenerator["Rollout"]:
        """Yield a rollout; at the end the stack's own worker receives everything again."""
        address = stack.environment["TEMPORAL_ADDRESS"]
        rollout = cls(stack=stack, deployment=Deployment(client=client, address=address))
        try:
            yield rollout
            await rollout.make_current(None)
        finally:
            await asyncio.gather(*(running.stop() for running in rollout.workers.values()))

    async def start(self, build_id: str, *, command: tuple[str, ...] = ()) -> None:
        """Start a worker of this version. command: instead of the worker's."""
        metrics, sdk_metrics = free_ports(2)
        config = self.stack.config
        ports = replace(config.ports, worker_metrics=metrics, worker_sdk_metrics=sdk_metrics)
        part = worker(
            replace(config, ports=ports),
            {
                **self.stack.environment,
                "TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT,
                "TEMPORAL_WORKER_BUILD_ID": build_id,
            },
        )
        named = replace(
            part,
            name=f"Worker {build_id}",
            log=config.logs / f"worker-{build_id}.log",
            command=command or part.command,
        )
        self.workers[build_id] = await start_ready(named)

    async def make_current(self, build_id: str | None) -> None:
        """Give new executions to a version; None: to the stack's own worker."""
        await self.deployment.make_current(build_id)

    async def builds_of(self, workflow_id: str) -> list[str]:
        return await builds_of(self.deployment.client, workflow_id)


async def builds_of(client: Client, workflow_id: str) -> list[str]:
    """Return the build ids of a workflow's tasks in their order, each once in a row.

    An empty id: a worker without a version.
    """
    builds: list[str] = []
    async for event in client.get_workflow_handle(workflow_id).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            build_id = event.workflow_task_completed_event_attributes.deployment_version.build_id
            if builds[-1:] != [build_id]:
                builds.append(build_id)
    return builds


async def retry_at_once(client: Client, delivery: str) -> None:
    """Make the next attempt of a delivery now, as `temporal activity reset` does."""
    await client.workflow_service.reset_activity(
        ResetActivityRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=delivery),
            type="attempt_webhook",
        )
    )


def _is_routed(deployment: WorkerDeploymentInfo, build_id: str | None) -> bool:
    """Return whether every task queue of the deployment uses the current version."""
    propagating = RoutingConfigUpdateState.ROUTING_CONFIG_UPDATE_STATE_IN_PROGRESS
    current = deployment.routing_config.current_deployment_version.build_id
    return current == (build_id or "") and deployment.routing_config_update_state != propagating
