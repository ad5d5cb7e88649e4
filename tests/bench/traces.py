"""The processor time of traces: off, on with nothing exported, and with every trace exported."""

import argparse
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

import httpx

from tests.bench.inbox import Inbox
from tests.bench.load import Round, run_round
from tests.bench.servers import Say, Servers, running_servers
from tests.bench.sides import ProductSide
from tests.bench.tables import spread, table
from tests.support.collector import Collector
from tests.support.stack_ports import receiver_port

SECONDS: Final = 0.5
IN_FLIGHT: Final = 20
OURS: Final = ("API", "Worker", "Temporal", "PostgreSQL")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stack:
    servers: Servers
    side: ProductSide

    async def round(self, executions: int) -> Round:
        return await run_round(
            self.side,
            executions=executions,
            in_flight=IN_FLIGHT,
            limit_seconds=120.0,
            pids=self.servers.pids,
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each kind")
    parser.add_argument("--executions", type=int, default=60, help="executions of a round")


async def run(options: argparse.Namespace, say: Say) -> None:
    """Measure the kinds in turn, each on its own stack: the machine's speed changes."""
    async with AsyncExitStack() as opened:
        collector = opened.enter_context(Collector.open())
        exported = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        kinds: dict[str, dict[str, str]] = {
            "off": {},
            "on, none exported": exported | {"OTEL_TRACES_SAMPLER_ARG": "0"},
            "on, all exported": exported | {"OTEL_TRACES_SAMPLER_ARG": "1"},
        }
        stacks = {
            kind: await opened.enter_async_context(_running(environment, say))
            for kind, environment in kinds.items()
        }
        for stack in stacks.values():
            await stack.round(IN_FLIGHT)
        rounds: dict[str, list[Round]] = {kind: [] for kind in kinds}
        for _ in range(options.rounds):
            for kind, stack in stacks.items():
                rounds[kind].append(await stack.round(options.executions))
                say(f"  {kind}: {_ms(rounds[kind][-1], *OURS):.0f} ms")
        count = options.rounds * options.executions + IN_FLIGHT
        spans = len(collector.spans()) / count
    head = ["traces", "all four, ms", *(f"{name}, ms" for name in OURS), "all four, of off"]
    say(table(head, [[kind, *_cells(rounds[kind], rounds["off"])] for kind in kinds]))
    say(f"{spans:.0f} exported spans per execution")


@asynccontextmanager
async def _running(environment: Mapping[str, str], say: Say) -> AsyncGenerator[_Stack]:
    async with (
        running_servers(
            say, image_seconds=SECONDS, video_seconds=SECONDS, environment=environment, bare=False
        ) as servers,
        Inbox.open(receiver_port(servers.config)) as inbox,
        httpx.AsyncClient(base_url=servers.config.api_url, trust_env=False, timeout=60) as http,
    ):
        yield _Stack(servers=servers, side=ProductSide(http=http, user=servers.user, inbox=inbox))


def _ms(each: Round, *names: str) -> float:
    """Return the processor milliseconds of these parts per execution."""
    return 1000 * sum(each.cpu_seconds[name] for name in names) / len(each.finished)


def _cells(rounds: list[Round], off: list[Round]) -> list[str]:
    """Return the medians of all parts and of each, and the ratio to the round without traces."""
    parts = [OURS, *((name,) for name in OURS)]
    ratios = [_ms(each, *OURS) / _ms(other, *OURS) for each, other in zip(rounds, off, strict=True)]
    return [
        *(f"{median(_ms(each, *names) for each in rounds):.1f}" for names in parts),
        spread(ratios, 2),
    ]
