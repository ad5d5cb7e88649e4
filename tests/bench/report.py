"""The table of rounds, with ratios per pair, because machine load varies between pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from tests.bench.histories import EventRow
from tests.bench.holds import Holds
from tests.bench.load import Round

THROUGHPUT_AIM, EVENTS_AIM, ADDED_AIM_SECONDS, HOLDS_AIM = 0.8, 60, 0.5, 500


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
        cells = (_spread(product, digits), _spread(bare, digits), _spread(ratios, 2))
        return f"| {name} | {cells[0]} | {cells[1]} | {cells[2]} |"

    def added(pairs: Sequence[Pair], share: float) -> tuple[list[float], list[float]]:
        return (
            [_quantile(pair.product.added_seconds(provider), share) * 1000 for pair in pairs],
            [_quantile(pair.bare.added_seconds(provider), share) * 1000 for pair in pairs],
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
        f"Of the machine, other programs took {_spread([100 * one.others_share for one in (*product, *bare)], 0)} %.",
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
    rates = _spread([found.per_second for found in results.holds], 0)
    return (
        f"One hot user: {rates} durable holds a second over {results.holds[0].connections} connections, each a whole "
        "acceptance: rows, charges, ledger, load, budget and the service's day."
    )


def _verdict(results: Results) -> str:
    ratio = median(pair.product.per_second / pair.bare.per_second for pair in results.fifty)
    added = median(
        _quantile(pair.product.added_seconds(results.provider_seconds), 0.5) for pair in results.one
    )
    events = median(sum(counts) for counts in results.events["product"])
    holds = median(found.per_second for found in results.holds)
    return "\n".join(
        f"{'reached' if reached else 'MISSED '}  {text}"
        for reached, text in (
            (
                ratio >= THROUGHPUT_AIM,
                f"throughput {ratio:.2f} of the bare workflow (aim: >= {THROUGHPUT_AIM})",
            ),
            (
                added <= ADDED_AIM_SECONDS,
                f"added latency {added * 1000:.0f} ms (aim: <= {ADDED_AIM_SECONDS * 1000:.0f})",
            ),
            (events <= EVENTS_AIM, f"{events:.0f} history events (aim: <= {EVENTS_AIM})"),
            (
                holds >= HOLDS_AIM,
                f"{holds:.0f} durable holds a second of one hot user (aim: >= {HOLDS_AIM})",
            ),
        )
    )


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _quantile(ascending: Sequence[float], share: float) -> float:
    return (
        median(ascending)
        if share == 0.5
        else ascending[min(len(ascending) - 1, int(len(ascending) * share))]
    )
