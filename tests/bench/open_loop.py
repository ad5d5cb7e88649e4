"""Added latency at half of the saturated rate: orders arrive whether or not earlier ones ended.

In a closed loop with fifty lanes, the latency is fifty divided by the throughput (Little's law). An
open loop below saturation shows the latency that a customer sees.
"""

import argparse
import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import httpx

from tests.bench.cpu import CpuReading
from tests.bench.inbox import Inbox
from tests.bench.load import run_round
from tests.bench.servers import Say, running_servers
from tests.bench.sides import BareSide, Finished, ProductSide, Side
from tests.bench.tables import quantile, spread, table
from tests.support.stack_ports import receiver_port

IMAGE_SECONDS = VIDEO_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """One open-loop round. added: the seconds beyond the provider's own time, shortest first."""

    added: Sequence[float]
    others_share: float

    def ms(self, share: float) -> float:
        return 1000 * quantile(self.added, share)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenPair:
    """rate: of both sides, per second: half of what the slower side finishes under saturation."""

    rate: float
    product: Arrivals
    bare: Arrivals


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=int, default=9, help="pairs of product and bare workflow")
    parser.add_argument(
        "--saturating", type=int, default=120, metavar="N", help="executions of a saturating round"
    )
    parser.add_argument("--in-flight", type=int, default=50, help="of a saturating round")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="duration of an open-loop round"
    )


async def run(options: argparse.Namespace, say: Say) -> None:
    async with (
        running_servers(
            lambda _: None, image_seconds=IMAGE_SECONDS, video_seconds=VIDEO_SECONDS
        ) as servers,
        Inbox.open(receiver_port(servers.config)) as inbox,
        httpx.AsyncClient(base_url=servers.config.api_url, trust_env=False, timeout=30) as http,
    ):
        sides: list[Side] = [
            ProductSide(http=http, user=servers.user, inbox=inbox),
            BareSide(
                client=servers.temporal,
                inbox=inbox,
                image_seconds=IMAGE_SECONDS,
                video_seconds=VIDEO_SECONDS,
            ),
        ]

        async def saturated(side: Side, executions: int) -> float:
            done = await run_round(
                side,
                executions=executions,
                in_flight=options.in_flight,
                limit_seconds=60,
                pids=servers.pids,
            )
            return done.per_second

        for side in sides:  # prepared statements, pools and caches are in place afterwards
            await saturated(side, min(30, options.saturating))
        pairs: list[OpenPair] = []
        for number in range(1, options.pairs + 1):
            rate = min([await saturated(side, options.saturating) for side in sides]) / 2
            product, bare = [
                await _arrive(side, rate, options.seconds, seed=number, pids=servers.pids)
                for side in sides
            ]
            pairs.append(OpenPair(rate=rate, product=product, bare=bare))
            say(
                f"  {number} of {options.pairs}: {rate:.2f} a second, added latency p50 "
                f"product {product.ms(0.5):.0f} ms, bare {bare.ms(0.5):.0f} ms"
            )
    say(f"\n{report(pairs)}")


async def _arrive(
    side: Side, rate: float, seconds: float, *, seed: int, pids: dict[str, int]
) -> Arrivals:
    """Order at random moments, the same for both sides of a pair, and await all."""
    chance = random.Random(seed)
    before, loop = CpuReading.take(pids), asyncio.get_running_loop()
    began = loop.time()
    arriving: list[asyncio.Task[Finished]] = []
    due = chance.expovariate(rate)
    while due < seconds or not arriving:
        await asyncio.sleep(max(0.0, began + due - loop.time()))
        arriving.append(asyncio.create_task(side.run_one()))
        due += chance.expovariate(rate)
    finished = await asyncio.gather(*arriving)
    elapsed = loop.time() - began
    provider_seconds = IMAGE_SECONDS + VIDEO_SECONDS
    return Arrivals(
        added=sorted(one.seconds - provider_seconds for one in finished),
        others_share=CpuReading.take(pids).others_share_since(before, elapsed),
    )


def report(pairs: Sequence[OpenPair]) -> str:
    def row(name: str, share: float) -> list[str]:
        product, bare = (
            [pair.product.ms(share) for pair in pairs],
            [pair.bare.ms(share) for pair in pairs],
        )
        ratios = [ours / theirs for ours, theirs in zip(product, bare, strict=True)]
        return [name, spread(product, 0), spread(bare, 0), spread(ratios, 2)]

    rates = spread([pair.rate for pair in pairs], 2)
    others = 100 * median(side.others_share for pair in pairs for side in (pair.product, pair.bare))
    rows = [row("added latency, median, ms", 0.5), row("added latency, slowest tenth, ms", 0.9)]
    return (
        f"Open loop at {rates} orders a second: half of the saturated rate. Medians of {len(pairs)} pairs.\n\n"
        f"{table(('', 'product', 'bare workflow', 'product / bare'), rows)}\n\n"
        f"Other programs used {others:.0f} % of the machine."
    )
