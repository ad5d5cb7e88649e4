"""The faults: what is done to the stack once enough is held, and the conditions for it to count."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import psutil
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.client import WorkflowExecution as Listed

from deploy.local.servers.temporal import NAMESPACE
from tests.chaos.cases import Setting
from tests.chaos.control import control
from tests.chaos.parts import SANDBOX_SETTINGS
from tests.chaos.testbed import APIS, RESTART_SECONDS, SERVERS, WORKERS, Testbed

EXIT_SECONDS: Final = 30.0
DRAIN_HOLD_SECONDS: Final = 2.0
ZOMBIE_LATE_SECONDS: Final = 6.0
"""Time in which a resumed zombie process could do harm."""


@dataclass(slots=True, kw_only=True)
class Injection:
    """One injected fault.

    fired_at, back_at (everything is ready again): wall clock. void: why it does not count.
    """

    testbed: Testbed
    worker: str
    api: str
    release: Callable[[], None]
    overtaken: Callable[[], Awaitable[None]]
    fired_at: float = 0.0
    back_at: float | None = None
    void: list[str] = field(default_factory=list[str])
    broken: list[str] = field(default_factory=list[str])

    def kill(self, *names: str) -> None:
        self.fired_at = time.time()
        for name in names:
            self.testbed.signal(name, signal.SIGKILL)

    async def back(self, *names: str) -> None:
        await self.testbed.until_up(names, self.fired_at)
        ended = {incident.name: incident for incident in self.testbed.ends_since(self.fired_at)}
        self.void += [
            f"{name} was not killed" for name in names if ended[name].code != -signal.SIGKILL
        ]
        self.back_at = max(incident.ready_at or 0.0 for incident in ended.values())


Fault = Callable[[Injection], Awaitable[None]]


def _killing(*chosen: str | Callable[[Injection], str]) -> Fault:
    async def inject(it: Injection) -> None:
        names = [one if isinstance(one, str) else one(it) for one in chosen]
        it.kill(*names)
        it.release()
        await it.back(*names)

    return inject


async def _kill_workers_for_a_while(it: Injection) -> None:
    it.testbed.restart_seconds = 4.0
    try:
        it.kill(*WORKERS)
        it.release()
        await it.back(*WORKERS)
    finally:
        it.testbed.restart_seconds = RESTART_SECONDS


async def _cut(it: Injection) -> None:
    """Do nothing: the connections were cut when their moments came."""
    it.fired_at = it.back_at = time.time()


async def _stop_worker(it: Injection) -> None:
    it.fired_at = time.time()
    pid = it.testbed.pid_of(it.worker)
    it.testbed.signal(it.worker, signal.SIGSTOP)
    try:
        it.release()  # Data for the stopped worker waits in its socket until it resumes.
        await it.overtaken()
        if psutil.Process(pid).status() != psutil.STATUS_STOPPED:
            it.void.append("the worker was not stopped all the time")
    finally:
        it.testbed.signal(it.worker, signal.SIGCONT)
    it.back_at = time.time()
    await asyncio.sleep(ZOMBIE_LATE_SECONDS)
    if any(one.name == it.worker for one in it.testbed.ends_since(it.fired_at)):
        it.broken.append("the woken worker ended")


async def _term_worker(it: Injection) -> None:
    it.fired_at = time.time()
    it.testbed.signal(it.worker, signal.SIGTERM)
    await asyncio.sleep(DRAIN_HOLD_SECONDS)
    it.release()
    await it.testbed.until_up((it.worker,), it.fired_at)
    (ended, *_) = [one for one in it.testbed.ends_since(it.fired_at) if one.name == it.worker]
    it.back_at = ended.ready_at
    if ended.code != 0:
        it.broken.append(f"SIGTERM ended the worker with code {ended.code}")
    if ended.ended_at - it.fired_at > EXIT_SECONDS:
        it.broken.append(f"SIGTERM took {ended.ended_at - it.fired_at:.0f} s")


async def _reset_workflows(it: Injection) -> None:
    """Reset every running execution to its first workflow task, as in the Web UI."""
    client = await Client.connect(
        f"127.0.0.1:{it.testbed.config.ports.temporal}", namespace=NAMESPACE
    )
    running = client.list_workflows("WorkflowType = 'execution' AND ExecutionStatus = 'Running'")
    found = [workflow async for workflow in running]
    it.fired_at = it.back_at = time.time()
    if not sum(await asyncio.gather(*(_reset(client, workflow) for workflow in found))):
        it.void.append("no workflow was running")


async def _reset(client: Client, workflow: Listed) -> bool:
    """Return False if the first task is not completed yet."""
    async for event in client.get_workflow_handle(
        workflow.id, run_id=workflow.run_id
    ).fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            order = ResetWorkflowExecutionRequest(
                namespace=NAMESPACE,
                workflow_execution=WorkflowExecution(
                    workflow_id=workflow.id, run_id=workflow.run_id
                ),
                reason="chaos",
                request_id=str(uuid4()),
                workflow_task_finish_event_id=event.event_id,
            )
            await client.workflow_service.reset_workflow_execution(order)
            return True
    return False


FAULTS: Final[Mapping[str, Fault]] = {
    "kill worker": _killing(lambda it: it.worker),
    "kill workers": _killing(*WORKERS),
    "kill workers for 4 s": _kill_workers_for_a_while,
    "kill api": _killing(lambda it: it.api),
    "kill api and worker": _killing(lambda it: it.api, lambda it: it.worker),
    "kill all": _killing(*APIS, *WORKERS, *SERVERS),
    **{f"kill {name}": _killing(name) for name in SERVERS},
    "stop worker": _stop_worker,
    "term worker": _term_worker,
    "reset workflows": _reset_workflows,
    "cut": _cut,
}


async def set_sandbox(testbed: Testbed, setting: Setting) -> None:
    settings = {
        **SANDBOX_SETTINGS,
        "image_seconds": setting.image_seconds,
        "video_seconds": setting.video_seconds,
        "callbacks": setting.callbacks,
        "history_hides_running": setting.hides_running,
    }
    url = testbed.control_url
    await control("DELETE", f"{url}/faults")
    await control("PUT", f"{url}/settings", settings)
    for fault in setting.faults:
        await control("POST", f"{url}/faults", fault)
