"""The processor time of traces: off, on with nothing exported, and with every trace exported."""

import argparse
from statistics import median
from typing import Final

import httpx

from tests.bench.inbox import Inbox
from tests.bench.load import Round, run_round
from tests.bench.servers import Say, running_servers
from tests.bench.sides import ProductSide
from tests.bench.tables import table
from tests.support.collector import Collector
from tests.support.stack_ports import receiver_port

SECONDS: Final = 0.5
IN_FLIGHT: Final = 20
OURS: Final = ("API", "Worker", "Temporal", "PostgreSQL")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each kind")
    parser.add_argument("--executions", type=int, default=60, help="executions of a round")


async def run(options: argparse.Namespace, say: Say) -> None:
    """Measure one kind after the other, each with a stack of its own."""
    rows: list[list[str]] = []
    with Collector.open() as collector:
        exported = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        kinds = {
            "off": {},
            "on, none exported": exported | {"OTEL_TRACES_SAMPLER_ARG": "0"},
            "on, all exported": exported | {"OTEL_TRACES_SAMPLER_ARG": "1"},
        }
        for kind, environment in kinds.items():
            before = len(collector.spans())
            rounds = await _measure(environment, options, say)
            count = options.rounds * options.executions + IN_FLIGHT
            spans = (len(collector.spans()) - before) / count
            rows.append([kind, *_cells(rounds), f"{spans:.0f}"])
    say(table(["traces", "all four, ms", *(f"{name}, ms" for name in OURS), "spans"], rows))


async def _measure(
    environment: dict[str, str], options: argparse.Namespace, say: Say
) -> list[Round]:
    async with (
        running_servers(
            say, image_seconds=SECONDS, video_seconds=SECONDS, environment=environment, bare=False
        ) as servers,
        Inbox.open(receiver_port(servers.config)) as inbox,
        httpx.AsyncClient(base_url=servers.config.api_url, trust_env=False, timeout=60) as http,
    ):
        side = ProductSide(http=http, user=servers.user, inbox=inbox)

        async def one_round(executions: int) -> Round:
            return await run_round(
                side,
                executions=executions,
                in_flight=IN_FLIGHT,
                limit_seconds=120.0,
                pids=servers.pids,
            )

        await one_round(IN_FLIGHT)
        return [await one_round(options.executions) for _ in range(options.rounds)]


def _cells(rounds: list[Round]) -> list[str]:
    """Return the median processor milliseconds per execution, of all parts and of each."""

    def ms(each: Round, *names: str) -> float:
        return 1000 * sum(each.cpu_seconds[name] for name in names) / len(each.finished)

    parts = [OURS, *((name,) for name in OURS)]
    return [f"{median(ms(each, *names) for each in rounds):.1f}" for names in parts]
