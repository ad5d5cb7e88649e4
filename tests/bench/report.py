"""The table of rounds, with ratios per pair, because machine load varies between pairs."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median

from tests.bench.capacity.costs import OTHER, Costs
from tests.bench.histories import EventRow
from tests.bench.holds import Holds
from tests.bench.load import Round
from tests.bench.servers import BARE_WORKER, machine
from tests.bench.tables import quantile, spread

THROUGHPUT_AIM, RATIO_AIM, EVENTS_AIM, HOLDS_AIM = 1.0, 1.0, 38, 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A product round and the bare round that ran next to it."""

    product: Round
    bare: Round


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of a run.

    fifty: pairs under load. one: pairs with one execution in flight. events: (execution, delivery)
    by the name of the side.

    holds: rounds of one hot user's holds, without any workflow.
    """

    provider_seconds: float
    fifty: Sequence[Pair]
    one: Sequence[Pair]
    events: dict[str, list[tuple[int, int]]]
    explained: Sequence[EventRow]
    holds: Sequence[Holds]


def report(results: Results) -> str:
    """For a terminal, and Markdown at the same time."""
    parts = (_main_table, _cpu_table, _events_table, _holds_line, _verdict)
    return "\n\n".join(part(results) for part in parts)


def _main_table(results: Results) -> str:
    provider, fifty, one = results.provider_seconds, results.fifty, results.one

    def row(name: str, product: list[float], bare: list[float], digits: int) -> str:
        ratios = [ours / theirs for ours, theirs in zip(product, bare, strict=True)]
        cells = (spread(product, digits), spread(bare, digits), spread(ratios, 2))
        return f"| {name} | {cells[0]} | {cells[1]} | {cells[2]} |"

    def added(pairs: Sequence[Pair], share: float) -> tuple[list[float], list[float]]:
        return (
            [quantile(pair.product.added_seconds(provider), share) * 1000 for pair in pairs],
            [quantile(pair.bare.added_seconds(provider), share) * 1000 for pair in pairs],
        )

    in_flight = fifty[0].product.in_flight
    lines = [
        f"median of {len(fifty)} pairs of rounds (smallest to largest)",
        "",
        "| | product | bare workflow | product / bare |",
        "| --- | --- | --- | --- |",
        row(
            f"finished executions a second, {in_flight} in flight",
            [pair.product.per_second for pair in fifty],
            [pair.bare.per_second for pair in fifty],
            2,
        ),
        row(
            f"processor time of all parts per execution, {in_flight} in flight, ms",
            [pair.product.cpu_ms for pair in fifty],
            [pair.bare.cpu_ms for pair in fifty],
            0,
        ),
        row("added latency, 1 in flight, median, ms", *added(one, 0.5), 0),
        row("added latency, 1 in flight, slowest tenth, ms", *added(one, 0.9), 0),
        row(f"added latency, {in_flight} in flight, median, ms", *added(fifty, 0.5), 0),
        row(f"added latency, {in_flight} in flight, slowest tenth, ms", *added(fifty, 0.9), 0),
        row(
            "history events, execution + delivery",
            [float(sum(counts)) for counts in results.events["product"]],
            [float(sum(counts)) for counts in results.events["bare"]],
            0,
        ),
    ]
    return "\n".join(lines)


def _cpu_table(results: Results) -> str:
    """Processor milliseconds per execution under load, median of the rounds."""

    def cost(rounds: Sequence[Round], part: str) -> float:
        return median(1000 * one.cpu_seconds[part] / len(one.finished) for one in rounds)

    product, bare = [pair.product for pair in results.fifty], [pair.bare for pair in results.fifty]
    lines = [
        f"Processor time per execution, ms, {product[0].in_flight} in flight",
        "",
        "| part | product round | bare round |",
        "| --- | --- | --- |",
        *(
            f"| {part} | {cost(product, part):.0f} | {cost(bare, part):.0f} |"
            for part in product[0].cpu_seconds
        ),
        f"| all | {median(one.cpu_ms for one in product):.0f} | {median(one.cpu_ms for one in bare):.0f} |",
        "",
        f"Of the machine, other programs took {spread([100 * one.others_share for one in (*product, *bare)], 0)} %.",
    ]
    return "\n".join(lines)


def _events_table(results: Results) -> str:
    lines = [
        "History events of one product execution",
        "",
        "| event | execution | delivery | what it is for |",
        "| --- | --- | --- | --- |",
        *(
            f"| {row.what} | {row.execution} | {row.delivery} | {row.purpose} |"
            for row in results.explained
        ),
        f"| all | {sum(row.execution for row in results.explained)} "
        f"| {sum(row.delivery for row in results.explained)} | |",
    ]
    return "\n".join(lines)


def _holds_line(results: Results) -> str:
    rates = spread([found.per_second for found in results.holds], 0)
    return (
        f"One hot user: {rates} durable holds a second over {results.holds[0].connections} connections, each a whole "
        "acceptance: rows, charges, ledger, load, budget and the service's day."
    )


def _verdict(results: Results) -> str:
    def ratio(pairs: Sequence[Pair], figure: Callable[[Round], float]) -> float:
        return median(figure(pair.product) / figure(pair.bare) for pair in pairs)

    def added(one: Round) -> float:
        return quantile(one.added_seconds(results.provider_seconds), 0.5)

    throughput = ratio(results.fifty, lambda one: one.per_second)
    ratios = {
        "processor time per execution": ratio(results.fifty, lambda one: one.cpu_ms),
        "added latency, 1 in flight": ratio(results.one, added),
        f"added latency, {results.fifty[0].product.in_flight} in flight": ratio(
            results.fifty, added
        ),
    }
    events = median(sum(counts) for counts in results.events["product"])
    holds = median(found.per_second for found in results.holds)
    lines = [
        (
            throughput >= THROUGHPUT_AIM,
            f"throughput {throughput:.2f} of the bare workflow (aim: >= {THROUGHPUT_AIM})",
        ),
        *(
            (value <= RATIO_AIM, f"{name} {value:.2f} of the bare workflow (aim: <= {RATIO_AIM})")
            for name, value in ratios.items()
        ),
        (events <= EVENTS_AIM, f"{events:.0f} history events (aim: <= {EVENTS_AIM})"),
        (
            holds >= HOLDS_AIM,
            f"{holds:.0f} durable holds a second of one hot user (aim: >= {HOLDS_AIM})",
        ),
    ]
    return "\n".join(f"{'reached' if reached else 'MISSED '}  {text}" for reached, text in lines)


def costs_of(results: Results, before: Costs) -> Costs:
    """Return the costs for the capacity page; those that this run has not measured stay."""
    product = [pair.product for pair in results.fifty]

    def cpu_ms(*parts: str) -> float:
        return round(
            median(
                1000 * sum(one.cpu_seconds[part] for part in parts) / len(one.finished)
                for one in product
            ),
            1,
        )

    ours = [part for part in before.cpu_ms if part != OTHER]
    others = [part for part in product[0].cpu_seconds if part not in (*ours, BARE_WORKER)]
    everything = [*product, *(pair.bare for pair in results.fifty)]
    return replace(
        before,
        measured=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        machine=machine(),
        others_percent=round(100 * median(one.others_share for one in everything)),
        cores=os.cpu_count() or 1,
        in_flight=product[0].in_flight,
        provider_seconds=results.provider_seconds,
        executions_per_second=round(median(one.per_second for one in product), 2),
        cpu_ms={part: cpu_ms(part) for part in ours} | {OTHER: cpu_ms(*others)},
        history_events=median(sum(counts) for counts in results.events["product"]),
        holds_per_second=round(median(found.per_second for found in results.holds)),
    )
