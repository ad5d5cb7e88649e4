"""Versioned workers alongside a stack, and the version that receives new executions."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentInfo
from temporalio.api.enums.v1 import EventType, RoutingConfigUpdateState
from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest, ResetActivityRequest
from temporalio.client import Client

from deploy.local.config import ROOT
from deploy.local.ports import free_ports
from deploy.local.product import worker
from deploy.local.servers.process import Running, start_ready
from deploy.local.servers.programs import program
from deploy.local.stack import Stack

DEPLOYMENT = "takeone"
TRIES_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class Rollout:
    """The versioned workers of a stack, by build id."""

    stack: Stack
    client: Client
    workers: dict[str, Running] = field(default_factory=dict[str, Running])

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: Stack, client: Client) -> AsyncGenerator["Rollout"]:
        """Yield a rollout; at the end the stack's own worker receives everything again."""
        rollout = cls(stack=stack, client=client)
        try:
            yield rollout
            await rollout.make_current(None)
        finally:
            await asyncio.gather(*(running.stop() for running in rollout.workers.values()))

    async def start(self, build_id: str, *, code: Path = ROOT) -> None:
        """Start a worker of this version from a checkout of the repository."""
        metrics, sdk_metrics = free_ports(2)
        config = self.stack.config
        ports = replace(config.ports, worker_metrics=metrics, worker_sdk_metrics=sdk_metrics)
        part = worker(
            replace(config, ports=ports),
            {
                **self.stack.environment,
                "PYTHONPATH": str(code),
                "TEMPORAL_DEPLOYMENT_NAME": DEPLOYMENT,
                "TEMPORAL_WORKER_BUILD_ID": build_id,
            },
        )
        self.workers[build_id] = await start_ready(
            replace(
                part,
                name=f"Worker {build_id}",
                command=(part.command[0], str(code / "worker.py")),
                log=config.logs / f"worker-{build_id}.log",
            )
        )

    async def stop(self, build_id: str) -> None:
        await self.workers.pop(build_id).stop()

    async def make_current(self, build_id: str | None) -> None:
        """Give new executions to a version, with the command of the docs; None: unversioned."""
        chosen = ("--unversioned",) if build_id is None else ("--build-id", build_id)
        async with asyncio.timeout(TRIES_SECONDS):
            while True:  # a version is there some time after its workers poll
                done = await asyncio.to_thread(self._temporal, "set-current-version", *chosen)
                if done.returncode == 0:
                    break
                await asyncio.sleep(0.3)
            while not _is_routed(await self._describe(), build_id):  # noqa: ASYNC110 - Temporal sets no event
                await asyncio.sleep(0.1)

    def _temporal(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [
                str(program("temporal")), "worker", "deployment", command,
                "--address", self.stack.environment["TEMPORAL_ADDRESS"],
                "--namespace", self.stack.environment["TEMPORAL_NAMESPACE"],
                "--deployment-name", DEPLOYMENT, *arguments, "--yes",
            ],
            env={"PATH": os.environ["PATH"], "HOME": str(self.stack.config.folder)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip

    async def _describe(self) -> WorkerDeploymentInfo:
        answer = await self.client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(
                namespace=self.client.namespace, deployment_name=DEPLOYMENT
            )
        )
        return answer.worker_deployment_info

    async def builds_of(self, workflow_id: str) -> list[str]:
        """Return the build ids of a workflow's tasks in their order, each once in a row.

        An empty id: a worker without a version.
        """
        builds: list[str] = []
        async for event in self.client.get_workflow_handle(workflow_id).fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                attributes = event.workflow_task_completed_event_attributes
                build_id = attributes.deployment_version.build_id
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
