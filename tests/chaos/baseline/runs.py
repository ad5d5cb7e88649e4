"""Start runs of the baseline, wait for their end, and read their bill."""

import asyncio
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from deploy.local.servers.process import Part, PartFailedError
from tests.chaos.baseline.activities import Order
from tests.chaos.baseline.workflow import QUEUE, BaselineVideoWorkflow

_TOKEN = re.compile(r"chaos-\d{6}")
_POLL_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run.

    token: `chaos-` and six digits, at the start of its prompts. execution_id: in its webhook.
    """

    token: str
    execution_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run's end.

    ended_at: None if the run had to be terminated. completed: every step and the webhook succeeded.
    """

    run: Run
    completed: bool
    ended_at: datetime | None


async def begin(
    client: Client, tokens: Sequence[str], *, webhook: str, call_limit_seconds: float = 0.0
) -> list[Run]:
    """Start a workflow for each token.

    A token must be `chaos-` and six digits, and is used once.
    """
    if wrong := [token for token in tokens if not _TOKEN.fullmatch(token)]:
        raise ValueError(f"not a token: {wrong[0]}")

    async def one(token: str) -> Run:
        order = Order(
            execution_id=f"baseline-{token}",
            token=token,
            prompt=f"{token}: a red kite over a grey harbour",
            webhook=webhook,
            call_limit_seconds=call_limit_seconds,
        )
        await client.start_workflow(
            BaselineVideoWorkflow.run, order, id=order.execution_id, task_queue=QUEUE
        )
        return Run(token=token, execution_id=order.execution_id)

    return list(await asyncio.gather(*map(one, tokens)))


async def until_ended(client: Client, runs: Iterable[Run], *, within_seconds: float) -> list[Ended]:
    """Return the end of each run; runs still open at the time limit are terminated."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_seconds
    return list(await asyncio.gather(*(_until_ended(client, run, until) for run in runs)))


async def _until_ended(client: Client, run: Run, until_monotonic: float) -> Ended:
    loop = asyncio.get_running_loop()
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(run.execution_id)
    while (found := await handle.describe()).status is WorkflowExecutionStatus.RUNNING:
        if loop.time() > until_monotonic:
            await handle.terminate("the round is over")
            return Ended(run=run, completed=False, ended_at=None)
        await asyncio.sleep(_POLL_SECONDS)
    return Ended(
        run=run,
        completed=found.status is WorkflowExecutionStatus.COMPLETED,
        ended_at=found.close_time,
    )


def extra_paid(lines: Iterable[Mapping[str, Any]], tokens: Iterable[str]) -> int:
    """Return the accepted calls beyond the first of each step, by model and token."""
    models: dict[str, list[str]] = defaultdict(list)
    for line in lines:
        match = _TOKEN.match(str(line["input"].get("prompt", "")))
        if match is not None:
            models[match[0]].append(line["model"])
    return sum(len(models[token]) - len(set(models[token])) for token in tokens)


def baseline_worker(name: str, environment: Mapping[str, str], *, folder: Path, log: Path) -> Part:
    """Return a worker as a part.

    environment: see the package; PYTHONPATH must lead to these tests.
    """
    ready = folder / f"{name.lower().replace(' ', '')}.ready"

    async def takes_work() -> None:
        if not ready.exists():
            raise PartFailedError("it asks Temporal for no work yet")

    return Part(
        name=name,
        command=(sys.executable, "-m", "tests.chaos.baseline", "worker", str(ready)),
        environment=environment,
        log=log,
        address=QUEUE,
        ready=takes_work,
        clean=lambda: ready.unlink(missing_ok=True),
        folder=folder,
        stop_seconds=5.0,
    )
