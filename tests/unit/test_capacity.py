"""The capacity page: its simulation agrees with the measured point, and its tables are current."""

import pytest

from tests.bench.capacity.costs import Costs, read_costs
from tests.bench.capacity.page import BEGIN, PAGE, costs_table, sizes_table
from tests.bench.capacity.simulation import closed_loop, open_loop
from tests.bench.capacity.sizing import size

TOLERANCE = 0.15
"""The agreed difference of the simulation from the measured throughput."""


@pytest.fixture(scope="module")
def costs() -> Costs:
    return read_costs()


def test_simulation_agrees_with_the_measured_throughput(costs: Costs) -> None:
    assert closed_loop(costs, seconds=60.0) == pytest.approx(
        costs.executions_per_second, rel=TOLERANCE
    )


def test_planned_size_holds_its_rate(costs: Costs) -> None:
    """Executions do not queue longer at the end than the planned load explains."""
    planned = size(costs, 1_000_000)
    work = sum(costs.seconds(part) for part in ("API", "Worker", "Temporal", "PostgreSQL"))
    assert open_loop(costs, planned, executions=2_000).median_seconds < 3 * work


def test_size_grows_linearly(costs: Costs) -> None:
    small, large = size(costs, 1_000_000), size(costs, 100_000_000)
    assert large.temporal_cores == pytest.approx(100 * small.temporal_cores)
    assert large.rate / large.cells <= costs.holds_per_second / 2


def test_page_has_the_tables_of_the_stored_costs(costs: Costs) -> None:
    """Mend: `.venv/bin/python -m tests.bench.capacity --write`."""
    text = PAGE.read_text(encoding="utf-8")
    assert BEGIN in text
    assert costs_table(costs) in text
    assert sizes_table(costs) in text
