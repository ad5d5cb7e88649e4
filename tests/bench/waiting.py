"""Processor time and memory of executions that merely wait for their providers.

Callbacks work. The same executions are measured twice: all younger than their usual duration, when
no status read is due, and all older, when each is read periodically.
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Final

import httpx

from core.domain.look_times import MAX_BACKUP_POLL_SECONDS
from tests.bench.capacity.costs import Waiting, read_costs, write_costs
from tests.bench.copied_rows import Render
from tests.bench.fill import Filler, running_filler
from tests.bench.idle_cost import COST_HEAD, OURS, IdleCost, cost_cells, measure_cost, others_line
from tests.bench.servers import Say, Servers
from tests.bench.tables import spread, table

USUAL_SECONDS: Final = 600
"""The usual duration of the videos: longer than a measurement."""
FIRST_LOOK_SECONDS: Final = 1.3 * USUAL_SECONDS + 3
OLD_SECONDS: Final = 3.0 * USUAL_SECONDS
LOOK_PAUSE_SECONDS: Final = MAX_BACKUP_POLL_SECONDS
"""Looks at old jobs are spread over this time, as they are after some minutes."""
AIMS: Final = {500: 0.04, 2_000: 0.1, 10_000: 0.3}
"""Cores of API, worker, Temporal and PostgreSQL together."""
WORKER_MIB_AIM: Final = 400

SCHEDULE_LOOKS: Final = """
UPDATE jobs SET submitted_at = now() - make_interval(secs => $1),
                next_look_at = now() + make_interval(secs => $2 + $3 * random())
WHERE state = 'submitted'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """reads_per_second: status reads. costs: one for each repetition."""

    in_flight: int
    age: str
    costs: Sequence[IdleCost]
    reads_per_second: Sequence[float]

    def row(self) -> list[str]:
        aim = AIMS.get(self.in_flight)
        return [
            f"{self.in_flight:,} {self.age}",
            *cost_cells(self.costs),
            spread(self.reads_per_second, 1),
            spread([cost.mib["Worker"] for cost in self.costs], 0),
            spread([cost.all_mib for cost in self.costs], 0),
            "" if aim is None else f"{aim} cores, {WORKER_MIB_AIM} MiB",
        ]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--in-flight",
        type=int,
        nargs="+",
        default=sorted(AIMS),
        metavar="N",
        help="how many videos render, in ascending order",
    )
    parser.add_argument(
        "--save-costs",
        action="store_true",
        help="store the costs of the last row for the capacity page",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of a measurement")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each row")
    parser.add_argument(
        "--settle", type=float, default=60.0, help="seconds before the first measurement of a row"
    )


async def run(options: argparse.Namespace, say: Say) -> None:
    rows: list[Waited] = []
    async with running_filler() as filler:
        servers = filler.servers
        present = 0
        for in_flight in options.in_flight:
            say(f"Filling in {in_flight - present:,} executions ...")
            await filler.fill(
                [Render(usual_seconds=USUAL_SECONDS)] * (in_flight - present), note=say
            )
            present = in_flight
            for age in ("younger", "older"):
                await _make(filler, age)
                await asyncio.sleep(options.settle)
                rows.append(await _measure(servers, in_flight, age, options))
                say(f"  {in_flight:,} {age}: {rows[-1].costs[-1].all_cores:.3f} cores")
    say(f"\n{report(rows)}")
    if options.save_costs:
        save_waiting(max(rows, key=lambda row: (row.in_flight, row.age == "younger")))


def save_waiting(row: Waited) -> None:
    """Store what waiting costs, for the capacity page."""
    waiting = Waiting(
        measured=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        in_flight=row.in_flight,
        cores={name: median(cost.cores[name] for cost in row.costs) for name in OURS},
        worker_mib=median(cost.mib["Worker"] for cost in row.costs),
    )
    write_costs(replace(read_costs(), waiting=waiting))


def report(rows: Sequence[Waited]) -> str:
    head = ("in flight", *COST_HEAD, "reads a second", "worker MiB", "all four MiB", "aim")
    costs = [cost for row in rows for cost in row.costs]
    return f"Cores while waiting.\n\n{table(head, [row.row() for row in rows])}\n\n{others_line(costs)}"


async def _make(filler: Filler, age: str) -> None:
    """Make all renders younger or older than their usual duration."""
    younger = age == "younger"
    await filler.owner.execute(
        SCHEDULE_LOOKS,
        0.0 if younger else OLD_SECONDS,
        FIRST_LOOK_SECONDS if younger else 0.0,
        0.0 if younger else LOOK_PAUSE_SECONDS,
    )
    # Otherwise autovacuum cleans up after this statement during the measurement.
    await filler.owner.execute("VACUUM ANALYZE jobs")


async def _measure(
    servers: Servers, in_flight: int, age: str, options: argparse.Namespace
) -> Waited:
    costs: list[IdleCost] = []
    reads: list[float] = []
    for _ in range(options.repeats):
        before = await status_reads(servers)
        costs.append(await measure_cost(servers.current_pids(), options.seconds))
        reads.append((await status_reads(servers) - before) / options.seconds)
    return Waited(in_flight=in_flight, age=age, costs=costs, reads_per_second=reads)


async def status_reads(servers: Servers) -> int:
    """Return the number of status reads that the sandbox has received."""
    url = f"{servers.config.sandbox_control_url}/call-counts"
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        counts = (await http.get(url)).raise_for_status().json()["counts"]
    return sum(count for operation, count in counts.items() if operation == "status")
