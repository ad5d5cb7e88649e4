"""How soon executions continue after every worker was killed, with many videos rendering.

A sample of the videos ends after the kill, partly while no worker runs. An execution has continued
when its webhook arrives: its file is stored by then. A video that ends before the new worker polls
counts from that moment.
"""

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Final

from deploy.local.product import worker
from deploy.local.servers.process import PartFailedError
from tests.bench.copied_rows import Render
from tests.bench.fill import Filled, Filler, running_filler
from tests.bench.idle_cost import COST_HEAD, IdleCost, cost_cells, measure_cost, others_line
from tests.bench.inbox import Arrival, Inbox
from tests.bench.servers import Say, Servers
from tests.bench.tables import quantile, spread, table
from tests.bench.waiting import USUAL_SECONDS
from tests.support.stack_ports import receiver_port

SAMPLE_KEY: Final = "sample"
ENDING_SECONDS: Final = 20.0
"""The ends of the sample are spread over this time, which begins with the kill."""
ARRIVAL_SECONDS: Final = 120.0
POLL_SECONDS: Final = 0.1


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--in-flight", type=int, default=50_000, help="how many videos render")
    parser.add_argument("--sample", type=int, default=500, help="videos that end after the kill")
    parser.add_argument(
        "--prepare",
        type=float,
        default=120.0,
        help="seconds in which the sample can be filled in before the kill",
    )
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="duration of a cost measurement"
    )
    parser.add_argument(
        "--settle", type=float, default=60.0, help="seconds before the first measurement"
    )
    parser.add_argument("--repeats", type=int, default=3, help="cost measurements before the kill")


async def run(options: argparse.Namespace, say: Say) -> None:
    async with (
        running_filler() as filler,
        Inbox.open(receiver_port(filler.servers.config)) as inbox,
    ):
        servers = filler.servers
        say(f"Filling in {options.in_flight:,} executions ...")
        await filler.fill([Render(usual_seconds=USUAL_SECONDS)] * options.in_flight, note=say)
        await asyncio.sleep(options.settle)
        costs = [
            await measure_cost(servers.current_pids(), options.seconds)
            for _ in range(options.repeats)
        ]
        say(f"  {costs[-1].all_cores:.3f} cores, {costs[-1].all_mib:.0f} MiB")
        with inbox.collecting(SAMPLE_KEY) as arrivals:
            sample, ready_at = await _kill_worker(servers, filler, inbox, options, say)
            deadline = time.monotonic() + ENDING_SECONDS + ARRIVAL_SECONDS
            while len(arrivals) < len(sample) and time.monotonic() < deadline:  # noqa: ASYNC110 - arrivals set no event
                await asyncio.sleep(0.5)
            say(f"\n{report(options.in_flight, costs, sample, arrivals, ready_at)}")


async def _kill_worker(
    servers: Servers, filler: Filler, inbox: Inbox, options: argparse.Namespace, say: Say
) -> tuple[list[Filled], float]:
    """Fill in the sample, kill the worker when the first of it is due, and await the new worker.

    Return the sample and when the new worker polled, in Unix seconds.
    """
    spacing = ENDING_SECONDS / options.sample
    renders = [
        Render(left_seconds=options.prepare + number * spacing, usual_seconds=USUAL_SECONDS)
        for number in range(options.sample)
    ]
    sample = await filler.fill(renders, webhook=inbox.address(SAMPLE_KEY), note=say)
    first_end = min(one.ends_at for one in sample)
    if time.time() > first_end:
        raise PartFailedError(
            f"the sample took longer than {options.prepare:.0f} s to fill in: raise --prepare or lower --sample"
        )
    await asyncio.sleep(first_end - time.time())
    killed = servers.current_pids()["Worker"]
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    polls = worker(servers.config, servers.environment).ready
    while True:
        await asyncio.sleep(POLL_SECONDS)
        if servers.current_pids()["Worker"] == killed:
            continue
        try:
            await polls()
        except Exception:  # noqa: BLE001 - any error of the client means "not ready yet"
            continue
        break
    say(f"  the new worker polls {time.monotonic() - began:.1f} s after the kill")
    return sample, time.time()


def report(
    in_flight: int,
    costs: Sequence[IdleCost],
    sample: Sequence[Filled],
    arrivals: dict[str, Arrival],
    ready_at: float,
) -> str:
    offset = time.time() - time.monotonic()
    seconds = sorted(
        arrivals[one.execution_id].at_monotonic + offset - max(one.ends_at, ready_at)
        for one in sample
        if one.execution_id in arrivals
    )
    cost_table = table(
        ("in flight", *COST_HEAD, "all four MiB"),
        [[f"{in_flight:,}", *cost_cells(costs), spread([cost.all_mib for cost in costs], 0)]],
    )
    cells = [f"{quantile(seconds, share):.1f}" for share in (0.5, 0.99)] if seconds else ["", ""]
    wake_table = table(
        ("in flight", "sample", "arrived", "p50, s", "p99, s", "slowest, s"),
        [
            [
                f"{in_flight:,}",
                str(len(sample)),
                str(len(seconds)),
                *cells,
                f"{seconds[-1]:.1f}" if seconds else "",
            ]
        ],
    )
    return (
        f"Cores and memory while waiting.\n\n{cost_table}\n\n{others_line(costs)}\n\n"
        "From the video's end, or from the first poll of the new worker if that is later, to the webhook.\n\n"
        f"{wake_table}"
    )
