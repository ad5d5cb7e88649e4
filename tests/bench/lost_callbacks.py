"""Status reads and lateness when callbacks were requested and not one arrives.

The videos of a mix are in the middle of their duration: their ages are spread evenly from zero to
the duration of their class. Lateness is the time from the provider's end to the webhook.
"""

import argparse
import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.copied_rows import Render
from tests.bench.fill import Filled, running_filler
from tests.bench.idle_cost import COST_HEAD, IdleCost, cost_cells, measure_cost, others_line
from tests.bench.inbox import Arrival, Inbox
from tests.bench.servers import Say, Servers
from tests.bench.tables import quantile, table
from tests.bench.waiting import status_reads
from tests.support.stack_ports import receiver_port

READS_PER_MINUTE: Final = 3_000
"""Replicate's limit for requests other than creates."""
KEY: Final = "lost"
STEP_SECONDS: Final = 5.0
NEAREST_END_SECONDS: Final = 1.0
MIXES: Final = ("90:1.0", "90:0.5,900:0.5", "900:1.0", "900:0.5,3600:0.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """One mix after its time. reads: totals, one for each STEP_SECONDS."""

    mix: str
    sample: Sequence[Filled]
    arrivals: Mapping[str, Arrival]
    reads: Sequence[int]
    cost: IdleCost

    def busiest_minute(self) -> int:
        steps = round(60 / STEP_SECONDS)
        if len(self.reads) <= steps:
            return self.reads[-1] - self.reads[0]
        return max(
            after - before for before, after in zip(self.reads, self.reads[steps:], strict=False)
        )

    def rows(self) -> list[list[str]]:
        """Return a row for each class of durations."""
        offset, now = time.time() - time.monotonic(), time.time()
        rows: list[list[str]] = []
        for duration in dict.fromkeys(one.render.usual_seconds for one in self.sample):
            ended = [
                one
                for one in self.sample
                if one.render.usual_seconds == duration and one.ends_at < now
            ]
            late = sorted(
                self.arrivals[one.execution_id].at_monotonic + offset - one.ends_at
                for one in ended
                if one.execution_id in self.arrivals
            )
            cells = (
                [f"{quantile(late, share):.0f}" for share in (0.5, 0.9, 0.99)] if late else [""] * 3
            )
            rows.append(
                [
                    f"{self.mix}: {duration} s",
                    f"{sum(one.render.usual_seconds == duration for one in self.sample):,}",
                    f"{len(ended):,}",
                    f"{len(late):,}",
                    *cells,
                    f"{self.busiest_minute():,}",
                ]
            )
        return rows


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--in-flight", type=int, default=10_000, help="how many videos render")
    parser.add_argument(
        "--mix",
        nargs="+",
        default=list(MIXES),
        metavar="SECONDS:SHARE,...",
        help="durations with their shares; each mix runs on servers of its own",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="measured time of each mix")


async def run(options: argparse.Namespace, say: Say) -> None:
    mixes = [(text, _parse(text)) for text in options.mix]
    results: list[Lost] = []
    for text, shares in mixes:
        say(f"Mix {text}: filling in {options.in_flight:,} executions ...")
        results.append(await _run_mix(text, shares, options, say))
    head = (
        "mix: class",
        "in flight",
        "ended",
        "noticed",
        "p50, s",
        "p90, s",
        "p99, s",
        "reads, busiest minute",
    )
    say(
        f"\nLateness without callbacks.\n\n{table(head, [row for one in results for row in one.rows()])}\n"
    )
    costs = [[one.mix, *cost_cells([one.cost])] for one in results]
    say(f"Cores meanwhile.\n\n{table(('mix', *COST_HEAD), costs)}\n")
    say(others_line([one.cost for one in results]))
    within = all(one.busiest_minute() <= READS_PER_MINUTE for one in results)
    say(f"{'reached' if within else 'MISSED'}: at most {READS_PER_MINUTE:,} reads in any minute")


def _parse(text: str) -> list[tuple[int, float]]:
    """Return durations with their shares. Exits for another form."""
    try:
        parts = [part.split(":") for part in text.split(",")]
        return [(int(seconds), float(share)) for seconds, share in parts]
    except ValueError:
        raise SystemExit(f"--mix must be like 90:0.5,900:0.5, not {text!r}") from None


async def _run_mix(
    text: str, shares: list[tuple[int, float]], options: argparse.Namespace, say: Say
) -> Lost:
    renders = [
        render
        for duration, share in shares
        for render in _spread_ages(duration, round(options.in_flight * share))
    ]
    async with (
        running_filler() as filler,
        Inbox.open(receiver_port(filler.servers.config)) as inbox,
    ):
        servers = filler.servers
        with inbox.collecting(KEY) as arrivals:
            await filler.set_sandbox(callbacks=False)
            began = time.monotonic()
            counting = asyncio.create_task(_count_reads(servers))
            sample = await filler.fill(renders, webhook=inbox.address(KEY), note=say)
            say(f"  {len(sample):,} wait after {time.monotonic() - began:.0f} s")
            cost = await measure_cost(servers.current_pids(), 60 * options.minutes)
            counting.cancel()
            reads = await asyncio.gather(counting, return_exceptions=True)
            assert isinstance(reads[0], list)
            return Lost(mix=text, sample=sample, arrivals=arrivals, reads=reads[0], cost=cost)


def _spread_ages(duration: int, number: int) -> list[Render]:
    ages = (duration * place / number for place in range(number))
    return [
        Render(
            age_seconds=age,
            left_seconds=max(NEAREST_END_SECONDS, duration - age),
            usual_seconds=duration,
        )
        for age in ages
    ]


async def _count_reads(servers: Servers) -> list[int]:
    """Return the totals of status reads until cancelled."""
    totals: list[int] = []
    try:
        while True:
            totals.append(await status_reads(servers))
            await asyncio.sleep(STEP_SECONDS)
    except asyncio.CancelledError:
        return totals
