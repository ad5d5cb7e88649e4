"""Many orders at once: refused orders, the first webhook, and the time to drain."""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx
import psutil

from tests.bench.bare_activities import PROMPT
from tests.bench.cpu import CpuReading
from tests.bench.fill import MANY_JOBS
from tests.bench.inbox import Arrival, Inbox
from tests.bench.servers import Say, Servers, running_servers
from tests.bench.tables import table
from tests.support.stack_ports import receiver_port

KEY: Final = "burst"
FIRST_AIM_SECONDS: Final = 4.0
WARM_UP: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Times in seconds from the first order. refused: by status code or kind of error.

    arrived: when each webhook arrived, in order.
    """

    orders: int
    refused: dict[str, int]
    last_accepted: float
    arrived: Sequence[float]
    failed: int
    others_share: float

    def row(self, provider_seconds: float) -> list[str]:
        first = self.arrived[0] - provider_seconds if self.arrived else float("nan")
        half = len(self.arrived) // 2
        return [
            f"{self.orders:,}",
            ", ".join(f"{count} {kind}" for kind, count in self.refused.items()) or "0",
            str(self.failed),
            f"{self.last_accepted:.1f}",
            f"{first:.1f}",
            f"{self.arrived[-1]:.1f}" if self.arrived else "",
            f"{_rate(self.arrived[:half]):.2f}",
            f"{_rate(self.arrived[half:]):.2f}",
            f"{100 * self.others_share:.0f} %",
        ]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--orders",
        type=int,
        nargs="+",
        default=[1_000, 5_000],
        metavar="N",
        help="sizes of the bursts, each on servers of its own",
    )
    parser.add_argument("--connections", type=int, default=100, help="concurrent orders")
    parser.add_argument(
        "--image-seconds", type=float, default=1.0, help="the provider's time for an image"
    )
    parser.add_argument(
        "--video-seconds", type=float, default=4.0, help="the provider's time for a video"
    )
    parser.add_argument(
        "--limit", type=float, default=3600.0, help="seconds after which a burst is given up"
    )


async def run(options: argparse.Namespace, say: Say) -> None:
    provider_seconds = options.image_seconds + options.video_seconds
    bursts: list[Burst] = []
    for orders in options.orders:
        bursts.append(await _burst(orders, options))
        say(f"  {orders:,}: drained after {bursts[-1].arrived[-1]:.0f} s")
    head = (
        "orders", "refused", "not completed", "last accepted, s", "first webhook beyond the provider's time, s",
        "drained, s", "a second, first half", "a second, second half", "other programs",
    )  # fmt: skip
    say(
        f"\nBursts, {options.connections} orders at a time, provider {provider_seconds:g} s an execution.\n\n"
        f"{table(head, [burst.row(provider_seconds) for burst in bursts])}\n\n"
        f"Aim for a burst of 1,000: the first webhook at most {FIRST_AIM_SECONDS:g} s beyond the provider's time, "
        "no refused order; the second half as fast as the first."
    )


async def _burst(orders: int, options: argparse.Namespace) -> Burst:
    async with (
        running_servers(
            lambda _: None,
            image_seconds=options.image_seconds,
            video_seconds=options.video_seconds,
            environment=MANY_JOBS,
            bare=False,
        ) as servers,
        Inbox.open(receiver_port(servers.config)) as inbox,
        httpx.AsyncClient(
            base_url=servers.config.api_url,
            trust_env=False,
            timeout=120,
            limits=httpx.Limits(max_connections=options.connections),
        ) as http,
    ):
        with inbox.collecting("warm-up") as warm:
            await _order(servers, http, inbox.address("warm-up"), WARM_UP, options.connections)
            await _until_arrived(warm, WARM_UP, 120)
        pids = servers.current_pids()
        with inbox.collecting(KEY) as arrivals:
            before, began = CpuReading.take(pids), time.monotonic()
            refused = await _order(servers, http, inbox.address(KEY), orders, options.connections)
            last_accepted = time.monotonic() - began
            await _until_arrived(arrivals, orders - sum(refused.values()), options.limit)
            elapsed = time.monotonic() - began
            others = CpuReading.take(pids).others_since(before)
            statuses = [one.event["status"] for one in arrivals.values()]
            return Burst(
                orders=orders,
                refused=refused,
                last_accepted=last_accepted,
                arrived=sorted(one.at_monotonic - began for one in arrivals.values()),
                failed=orders - sum(refused.values()) - statuses.count("completed"),
                others_share=others / (elapsed * (psutil.cpu_count() or 1)),
            )


async def _order(
    servers: Servers, http: httpx.AsyncClient, webhook: str, orders: int, connections: int
) -> dict[str, int]:
    """Order as fast as the API accepts. Return the refused and failed orders by their kind.

    Each connection sends its orders one after the other. Requests that wait in the client's pool
    instead cost it processor time in proportion to their number, and run into its time-out.
    """
    refused: dict[str, int] = {}
    left = iter(range(orders))

    async def order_until_done() -> None:
        for _ in left:
            try:
                answer = await http.post(
                    "/api/generate-video",
                    json={"prompt": PROMPT, "webhook": webhook},
                    headers={"authorization": f"Bearer {servers.user.api_key}"},
                )
                kind = None if answer.status_code == 202 else str(answer.status_code)
            except httpx.HTTPError as error:
                kind = type(error).__name__
            if kind is not None:
                refused[kind] = refused.get(kind, 0) + 1

    await asyncio.gather(*(order_until_done() for _ in range(connections)))
    return refused


async def _until_arrived(arrivals: dict[str, Arrival], number: int, seconds: float) -> None:
    """Wait until this many have arrived or the time is over."""
    deadline = time.monotonic() + seconds
    while len(arrivals) < number and time.monotonic() < deadline:  # noqa: ASYNC110 - arrivals set no event
        await asyncio.sleep(0.2)


def _rate(arrived: Sequence[float]) -> float:
    return (len(arrived) - 1) / (arrived[-1] - arrived[0]) if len(arrived) > 1 else 0.0
