"""The scenarios of the benchmark besides the comparison: their names, options and servers."""

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from tests.bench import (
    burst,
    lost_callbacks,
    open_loop,
    pipelines,
    streams,
    traces,
    waiting,
    wake_ups,
)
from tests.bench.servers import Say, machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """summary: for --help. add_options: its own options. run: print its table."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Say], Awaitable[None]]


SCENARIOS: Final = {
    "open-loop": Scenario(
        summary="added latency at half of the saturated rate, product and bare workflow",
        add_options=open_loop.add_options,
        run=open_loop.run,
    ),
    "waiting": Scenario(
        summary="processor time and memory while videos render, before and after their usual duration",
        add_options=waiting.add_options,
        run=waiting.run,
    ),
    "wake-ups": Scenario(
        summary="time to continue after every worker was killed, with many videos rendering",
        add_options=wake_ups.add_options,
        run=wake_ups.run,
    ),
    "lost-callbacks": Scenario(
        summary="status reads and lateness when no callback arrives, by mix of durations",
        add_options=lost_callbacks.add_options,
        run=lost_callbacks.run,
    ),
    "burst": Scenario(
        summary="many orders at once: refused orders, first webhook, time to drain",
        add_options=burst.add_options,
        run=burst.run,
    ),
    "pipelines": Scenario(
        summary="time to the provider's create call, alone and beside rendering pipelines",
        add_options=pipelines.add_options,
        run=pipelines.run,
    ),
    "streams": Scenario(
        summary="memory of event streams, time of a change to all, cost of events per execution",
        add_options=streams.add_options,
        run=streams.run,
    ),
    "traces": Scenario(
        summary="processor time per execution without traces, and with none or all exported",
        add_options=traces.add_options,
        run=traces.run,
    ),
}


def run_scenario(name: str, arguments: Sequence[str], say: Say) -> None:
    """Run a scenario with its own options. Exits with its help for --help."""
    scenario = SCENARIOS[name]
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.bench --scenario {name}",
        description=f"Measure {scenario.summary}. See docs/reference/benchmarks.md.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    scenario.add_options(parser)
    options = parser.parse_args(arguments)
    say(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}, scenario {name}")
    asyncio.run(_until_stopped(scenario.run(options, say)))


async def _until_stopped(work: Awaitable[None]) -> None:
    """Handle SIGTERM like Ctrl-C: stop the servers first."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work
