"""The generated part of the capacity page: costs, sizes and the simulation."""

import re
from pathlib import Path
from typing import Final

from tests.bench.capacity.costs import OTHER, Costs
from tests.bench.capacity.simulation import closed_loop, open_loop
from tests.bench.capacity.sizing import Size, size
from tests.bench.tables import table

PAGE: Final = Path(__file__).parents[3] / "docs" / "explanation" / "capacity.md"
BEGIN: Final = "<!-- capacity: written by `python -m tests.bench.capacity --write` -->"
END: Final = "<!-- /capacity -->"
PER_DAY: Final = (1_000_000, 10_000_000, 100_000_000)
NOT_MEASURED: Final = "not measured yet"


def rendered(text: str, costs: Costs) -> str:
    """Return the page's text with its generated part replaced."""
    part = f"{BEGIN}\n\n{tables(costs)}\n\n{check_line(costs)}\n\n{END}"
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if pattern.search(text) is None:
        raise ValueError(f"{PAGE.name} needs the lines {BEGIN} and {END}")
    return pattern.sub(lambda _: part, text)


def tables(costs: Costs) -> str:
    return "\n\n".join((costs_table(costs), sizes_table(costs), _simulated_table(costs)))


def check_line(costs: Costs) -> str:
    simulated, measured = closed_loop(costs), costs.executions_per_second
    return (
        f"The simulation of the measured machine finishes {simulated:.2f} executions a second with "
        f"{costs.in_flight}\nin flight; measured were {measured:.2f}, a difference of "
        f"{100 * (simulated / measured - 1):+.0f} %."
    )


def costs_table(costs: Costs) -> str:
    rows = [[f"CPU of {part}, ms", f"{ms:g}"] for part, ms in costs.cpu_ms.items() if part != OTHER]
    rows += [
        ["transactions", f"{costs.transactions:g}"],
        ["history events", f"{costs.history_events:g}"],
        ["rows with their indexes, kB", f"{costs.bytes_per_execution / 1000:g}"],
        ["CPU of all four for 1,000 rendering videos, cores", _waiting(costs)],
    ]
    note = f"Measured {costs.measured} on {costs.machine}; other programs used {costs.others_percent:g} %."
    return f"{note}\n\n{table(('an execution', 'cost'), rows)}"


def _waiting(costs: Costs) -> str:
    if costs.waiting is None:
        return NOT_MEASURED
    return f"{1000 * sum(costs.waiting.cores.values()) / costs.waiting.in_flight:.3f}"


def sizes_table(costs: Costs) -> str:
    sizes = [size(costs, per_day) for per_day in PER_DAY]
    rows = [
        ["executions a second at the peak", *(f"{one.rate:,.0f}" for one in sizes)],
        ["cells", *(str(one.cells) for one in sizes)],
        ["worker processes", *(f"{one.workers:,}" for one in sizes)],
        ["API processes", *(f"{one.apis:,}" for one in sizes)],
        ["cores of Temporal", *(f"{one.temporal_cores:,.0f}" for one in sizes)],
        ["cores of PostgreSQL", *(f"{one.postgres_cores:,.0f}" for one in sizes)],
        ["rendering videos", *(f"{one.waiting:,.0f}" for one in sizes)],
        [
            "cores for waiting",
            *(
                NOT_MEASURED if one.waiting_cores is None else f"{one.waiting_cores:,.1f}"
                for one in sizes
            ),
        ],
        ["commits a second", *(f"{one.commits:,.0f}" for one in sizes)],
        ["history events a second", *(f"{one.events:,.0f}" for one in sizes)],
        ["new rows with indexes, GB a day", *(f"{one.gb_per_day:,.0f}" for one in sizes)],
    ]
    return table(_head("all cells together, at the peak", sizes), rows)


def _simulated_table(costs: Costs) -> str:
    """Simulate a cell of each size at its peak."""
    sizes = [size(costs, per_day) for per_day in PER_DAY]
    simulated = [open_loop(costs, planned) for planned in sizes]
    rows = [
        ["added latency, median, ms", *(f"{1000 * one.median_seconds:.0f}" for one in simulated)],
        [
            "added latency, slowest hundredth, ms",
            *(f"{1000 * one.late_seconds:.0f}" for one in simulated),
        ],
    ]
    return table(_head("simulated, at the peak", sizes), rows)


def _head(first: str, sizes: list[Size]) -> tuple[str, ...]:
    return (first, *(f"{one.per_day // 1_000_000} M a day" for one in sizes))
