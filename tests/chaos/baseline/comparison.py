"""The baseline on the product's testbed: the same moments are held, and workers are killed.

python -m tests.chaos.baseline.comparison [TRIALS]     starts a testbed and runs every case on it
"""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, Final

import httpx
from temporalio.client import Client

from deploy.local.config import ROOT
from deploy.local.servers.process import PartFailedError, Running, start, start_ready
from deploy.local.servers.temporal import NAMESPACE
from tests.chaos.baseline.runs import Ended, Run, baseline_worker, begin, extra_paid, until_ended
from tests.chaos.cases import Case, by_name
from tests.chaos.faults import set_sandbox
from tests.chaos.http_taps import ProviderTap
from tests.chaos.links import Link
from tests.chaos.report import as_text
from tests.chaos.testbed import RESTART_SECONDS, Testbed, running_testbed
from tests.chaos.traps import Trap, Verdict

CASES: Final = (
    "worker-before-post",
    "worker-post-late",
    "worker-after-billing",
    "worker-while-waiting",
    "cut-before-post",
    "cut-after-billing",
    "workers-die",
)
"""The product's cases whose moment is on the provider's connection, or on none."""
NAMES: Final = ("Baseline 1", "Baseline 2")
FIRST_NUMBER = 500_001
"""Numbers in the prompts, separate from the product's."""
FILL_SECONDS = 14.0
DEADLINE_SECONDS = 150.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Results of one case on the baseline.

    trials: runs that were at the point when the fault came.
    """

    case: Case
    trials: int = 0
    extra: int = 0
    lost: int = 0
    recovered_seconds: list[float] = field(default_factory=list[float])

    def row(self) -> tuple[str, ...]:
        """Return the columns of report.py, without those that need the product's rows."""
        seconds = self.recovered_seconds
        spread = f"{median(seconds):.1f} / {max(seconds):.1f}" if seconds else "-"
        counts = (str(self.trials), str(self.extra), str(self.lost))
        return (f"bare Temporal: {self.case.name}", *counts, "-", "-", "-", "-", spread, "-", "")


@dataclass(slots=True, kw_only=True)
class BaselineWorkers:
    """Two baseline workers on a testbed.

    A worker that ends is restarted after the testbed's pause.
    """

    testbed: Testbed
    client: Client
    say: Callable[[str], None]
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    _running: dict[str, Running] = field(default_factory=dict[str, Running])
    _number: int = FIRST_NUMBER

    async def run(self, trials: int, cases: Sequence[str] = CASES) -> list[Outcome]:
        """Run each case with this number of runs at its point.

        A round that did not reach the point is repeated twice.
        """
        for case in by_name(list(cases)):
            outcome = self.outcomes.setdefault(case.name, Outcome(case=case))
            for _ in range(3):
                await self._round(outcome, trials)
                if outcome.trials:
                    break
        return list(self.outcomes.values())

    async def _round(self, outcome: Outcome, trials: int) -> None:
        case, began = outcome.case, time.monotonic()
        await set_sandbox(self.testbed, case.setting)
        trap = Trap(
            name=case.name,
            processes=frozenset(NAMES if case.side in ("workers", "none") else NAMES[:1]),
            moment=case.moment,
            limit=trials,
            at_once=case.verdict if case.at_once else None,
        )
        self.testbed.trap_set.arm([trap] if case.moment else [])
        runs = await self._fill(trap, trials)
        self.testbed.trap_set.disarm()
        fired_at = time.time()
        if not case.at_once:
            for name in NAMES if case.side == "none" else NAMES[:1]:
                self._running[name].process.send_signal(signal.SIGKILL)
        self.testbed.trap_set.release(trap, case.verdict)
        ends = await until_ended(self.client, runs, within_seconds=DEADLINE_SECONDS)
        self.testbed.trap_set.release_all(Verdict.GO_ON)
        await self._note(outcome, ends, await self._at_point(trap, ends, fired_at), fired_at)
        self.say(
            f"  bare Temporal        {case.name}: {outcome.trials} trials, {outcome.extra} extra paid, "
            f"{outcome.lost} lost, {time.monotonic() - began:.0f} s"
        )

    async def _fill(self, trap: Trap, trials: int) -> list[Run]:
        """Start twice the number, since only one worker's runs are held, and wait for the trap."""
        tokens = [
            f"chaos-{self._number + at:06d}"
            for at in range(trials if not trap.moment else 3 * trials)
        ]
        self._number += len(tokens)
        runs: list[Run] = []
        for token in tokens:
            runs += await begin(self.client, [token], webhook=f"{self.testbed.receiver_url}/hook")
            await asyncio.sleep(0.05)
        until = time.monotonic() + FILL_SECONDS
        while trap.moment and not trap.is_full and time.monotonic() < until:  # noqa: ASYNC110 - a trap sets no event
            await asyncio.sleep(0.05)
        return runs

    async def _at_point(self, trap: Trap, ends: Sequence[Ended], fired_at: float) -> set[str]:
        """Return the tokens of the held runs, or of all open runs if none was held."""
        if not trap.moment:
            return {
                end.run.token
                for end in ends
                if end.ended_at is None or end.ended_at.timestamp() > fired_at
            }
        of_job = {
            line["provider_job_id"]: line["input"]["prompt"]
            for line in await self._bill()
            if "prompt" in line["input"]
        }
        seen = {token for held in trap.held_moments for token in held.tokens}
        return {of_job.get(token, token)[: len("chaos-000000")] for token in seen}

    async def _note(
        self, outcome: Outcome, ends: Sequence[Ended], at_point: set[str], fired_at: float
    ) -> None:
        mine = [end for end in ends if end.run.token in at_point]
        outcome.trials += len(mine)
        outcome.lost += sum(not end.completed for end in mine)
        outcome.extra += extra_paid(await self._bill(), [end.run.token for end in mine])
        outcome.recovered_seconds += [
            end.ended_at.timestamp() - fired_at for end in mine if end.ended_at is not None
        ]

    async def _bill(self) -> list[dict[str, Any]]:
        async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
            lines: list[dict[str, Any]] = (
                await http.get(f"{self.testbed.control_url}/bill")
            ).json()["lines"]
        return lines

    async def keep(self, name: str) -> None:
        """Restart a worker whenever it ends."""
        while True:
            running = self._running[name]
            await running.wait_ended()
            running.part.clean()
            await asyncio.sleep(RESTART_SECONDS)
            try:
                self._running[name] = await start(running.part)
                await self._running[name].wait_ready()
            except (PartFailedError, OSError) as error:
                self.say(f"  {error}")

    async def begin_worker(self, name: str, provider_port: int) -> None:
        config, provider = self.testbed.config, f"http://127.0.0.1:{provider_port}"
        environment = {
            **self.testbed.environment,
            "PYTHONPATH": str(ROOT),
            "FAL_QUEUE_URL": f"{provider}/fal/queue",
            "REPLICATE_BASE_URL": f"{provider}/replicate",
        }
        log = config.logs / f"{name.lower().replace(' ', '')}.log"
        self._running[name] = await start_ready(
            baseline_worker(name, environment, folder=config.folder, log=log)
        )

    async def kill_workers(self) -> None:
        for running in self._running.values():
            await running.kill()


@asynccontextmanager
async def running_baseline(
    testbed: Testbed, say: Callable[[str], None]
) -> AsyncGenerator[BaselineWorkers]:
    """Start two baseline workers on the testbed's servers, each with a proxy for the providers."""
    client = await Client.connect(f"127.0.0.1:{testbed.config.ports.temporal}", namespace=NAMESPACE)
    one = BaselineWorkers(testbed=testbed, client=client, say=say)
    links = {
        name: Link(
            name, testbed.trap_set, partial(list[int], (testbed.config.ports.sandbox,)), ProviderTap
        )
        for name in NAMES
    }
    keepers: list[asyncio.Task[None]] = []
    try:
        for name, link in links.items():
            await link.open()
            await one.begin_worker(name, link.port)
            keepers.append(asyncio.create_task(one.keep(name)))
        yield one
    finally:
        for keeper in keepers:
            keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*keepers, return_exceptions=True)
        await one.kill_workers()
        for link in links.values():
            await link.close()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def main(trials: int) -> None:
    async with running_testbed(say) as testbed, running_baseline(testbed, say) as baseline:
        outcomes = await baseline.run(trials)
    say(f"\n{as_text([outcome.row() for outcome in outcomes])}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
