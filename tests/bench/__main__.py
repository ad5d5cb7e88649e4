"""`python -m tests.bench`: compare the product with a bare workflow of the same checkpoints."""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median

import httpx

from deploy.local.servers.process import LocalError
from tests.bench import counts
from tests.bench.capacity.costs import read_costs, write_costs
from tests.bench.histories import count_events, explain_events
from tests.bench.holds import measure_holds
from tests.bench.inbox import Inbox
from tests.bench.load import Round, run_round
from tests.bench.report import Pair, Results, costs_of, report
from tests.bench.scenarios import SCENARIOS, run_scenario
from tests.bench.servers import Servers, machine, running_servers
from tests.bench.sides import BareSide, Finished, NotCompletedError, ProductSide, Side
from tests.support.stack_ports import receiver_port

IMAGE_SECONDS = VIDEO_SECONDS = 0.5
IN_FLIGHT = 50
SAMPLED_HISTORIES = 3
WARM_UP_COUNTED = 5
"""Executions before the counted ones: prepared statements and pools are in place then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The size of a run.

    limit_seconds: no execution of a round starts later. hold_seconds: the duration of a round that
    only holds money.
    """

    pairs: int
    loaded: int
    alone: int
    warm_up: int
    limit_seconds: float
    hold_seconds: float


FULL = Extent(pairs=9, loaded=120, alone=10, warm_up=30, limit_seconds=24.0, hold_seconds=6.0)
QUICK = Extent(pairs=1, loaded=75, alone=5, warm_up=10, limit_seconds=12.0, hold_seconds=3.0)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def measure(
    servers: Servers, inbox: Inbox, http: httpx.AsyncClient, extent: Extent
) -> Results:
    product = ProductSide(http=http, user=servers.user, inbox=inbox)
    bare = BareSide(
        client=servers.temporal,
        inbox=inbox,
        image_seconds=IMAGE_SECONDS,
        video_seconds=VIDEO_SECONDS,
    )

    async def one_round(side: Side, executions: int, in_flight: int, note: str) -> Round:
        done = await run_round(
            side,
            executions=executions,
            in_flight=in_flight,
            limit_seconds=extent.limit_seconds,
            pids=servers.pids,
        )
        added_ms = 1000 * median(done.added_seconds(IMAGE_SECONDS + VIDEO_SECONDS))
        say(
            f"  {note:<8} {side.name:<8} {in_flight:>2} in flight: {len(done.finished):>3} in "
            f"{done.wall_seconds:5.1f} s, {done.per_second:5.2f} a second, added latency {added_ms:5.0f} ms; "
            f"others took {100 * done.others_share:2.0f} % of the machine"
        )
        return done

    async def pair(executions: int, in_flight: int, note: str) -> Pair:
        return Pair(
            product=await one_round(product, executions, in_flight, note),
            bare=await one_round(bare, executions, in_flight, note),
        )

    await pair(extent.warm_up, min(IN_FLIGHT, extent.warm_up), "warm-up")
    fifty: list[Pair] = []
    one: list[Pair] = []
    for number in range(1, extent.pairs + 1):
        fifty.append(await pair(extent.loaded, IN_FLIGHT, f"{number} of {extent.pairs}"))
        one.append(await pair(extent.alone, 1, f"{number} of {extent.pairs}"))
    last = one[-1].product.finished[-1]
    holds = [
        await measure_holds(servers.owner_url, servers.application_url, seconds=extent.hold_seconds)
        for _ in range(extent.pairs)
    ]
    say(
        f"  one hot user: {', '.join(f'{found.per_second:.0f}' for found in holds)} durable holds a second"
    )
    return Results(
        holds=holds,
        provider_seconds=IMAGE_SECONDS + VIDEO_SECONDS,
        fifty=fifty,
        one=one,
        events={
            "product": await _events(servers, [pair.product for pair in (*one, *fifty)]),
            "bare": await _events(servers, [pair.bare for pair in (*one, *fifty)]),
        },
        explained=await explain_events(servers.temporal, last),
    )


async def _events(servers: Servers, rounds: list[Round]) -> list[tuple[int, int]]:
    """Sample every round, because the number of workflow tasks varies with the load."""
    sampled: list[Finished] = [
        finished for one in rounds for finished in one.finished[-SAMPLED_HISTORIES:]
    ]
    return [await count_events(servers.temporal, finished) for finished in sampled]


async def count_round_trips(
    servers: Servers, inbox: Inbox, http: httpx.AsyncClient, executions: int
) -> None:
    product = ProductSide(http=http, user=servers.user, inbox=inbox)
    for _ in range(WARM_UP_COUNTED):
        await product.run_one()
    say(counts.report(await counts.count(servers, product, executions=executions)))


async def bench(
    extent: Extent, tell: Callable[[str], None], counted: int = 0, *, save_costs: bool = False
) -> int:
    began = time.monotonic()
    tell(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}")
    tell(
        f"Provider: {IMAGE_SECONDS} s an image, {VIDEO_SECONDS} s a video, tiny files. Starting the servers ..."
    )
    async with (
        running_servers(tell, image_seconds=IMAGE_SECONDS, video_seconds=VIDEO_SECONDS) as servers,
        Inbox.open(receiver_port(servers.config)) as inbox,
        httpx.AsyncClient(
            base_url=servers.config.api_url,
            trust_env=False,
            timeout=30,
            limits=httpx.Limits(max_connections=IN_FLIGHT),
        ) as http,
    ):
        if counted:
            await count_round_trips(servers, inbox, http, counted)
        else:
            results = await measure(servers, inbox, http, extent)
            tell(f"\n{report(results)}\n")
            if save_costs:
                write_costs(costs_of(results, read_costs()))
    tell(f"{time.monotonic() - began:.0f} s in all")
    return 0


async def _until_stopped(extent: Extent, counted: int, *, save_costs: bool) -> int:
    """Handle SIGTERM like Ctrl-C: stop the servers first."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await bench(extent, say, counted, save_costs=save_costs)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=f"{__doc__} It starts its own servers on free loopback ports in a temporary folder, takes 12 to 18 "
        "minutes on two cores, and stops everything again. See docs/reference/benchmarks.md.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="one pair of short rounds: does it run at all?"
    )
    parser.add_argument(
        "--count",
        type=int,
        metavar="N",
        default=0,
        help="only count statements, transactions, calls and events of N executions, one in flight",
    )
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="pairs of rounds of each kind (default: 9)"
    )
    parser.add_argument(
        "--save-costs",
        action="store_true",
        help="store the costs of an execution for the capacity page (python -m tests.bench.capacity --write)",
    )
    parser.add_argument(
        "--scenario",
        choices=SCENARIOS,
        help="measure something else instead: "
        + "; ".join(f"{name}: {one.summary}" for name, one in SCENARIOS.items())
        + ". Its own options: --scenario NAME --options",
    )
    # Each workflow imports its module again, which would be compiled each time without byte code.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # --help after --scenario is the scenario's.
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--scenario", choices=SCENARIOS)
    scenario, rest = first.parse_known_args()
    given = parser.parse_args([] if scenario.scenario else rest)
    extent = QUICK if given.quick else FULL
    if given.pairs is not None:
        extent = replace(extent, pairs=given.pairs)
    try:
        if scenario.scenario is not None:
            run_scenario(scenario.scenario, rest, say)
            return 0
        return asyncio.run(_until_stopped(extent, given.count, save_costs=given.save_costs))
    except LocalError as error:
        say(str(error))
        return 1
    except NotCompletedError as error:
        say(f"Nothing to report: {error}")
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
