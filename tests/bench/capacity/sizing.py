"""Sizes of an installation from the measured costs, with the formulas of the capacity page."""

import math
from dataclasses import dataclass
from typing import Final

from tests.bench.capacity.costs import Costs

SECONDS_PER_DAY: Final = 86_400
PEAK: Final = 3.0
"""The rate at the peak hour, divided by the mean rate of the day."""
LOAD: Final = 0.6
"""The planned share of a processor at the peak: the rest is for bursts and a lost process."""
SPARE_WORKERS: Final = 1
MIN_APIS: Final = 2
VIDEO_SECONDS: Final = 100.0
"""The provider's time for one execution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a number of executions a day needs at its peak.

    rate: executions a second. cells: independent installations, each with its own database,
    Temporal namespace and workers, that the users are spread over. Everything else is the sum of
    all cells. waiting_cores: None if the cost of waiting was not measured yet.
    """

    per_day: int
    rate: float
    cells: int
    workers: int
    apis: int
    temporal_cores: float
    postgres_cores: float
    waiting: float
    waiting_cores: float | None
    commits: float
    events: float
    gb_per_day: float


def size(costs: Costs, per_day: int, video_seconds: float = VIDEO_SECONDS) -> Size:
    rate = PEAK * per_day / SECONDS_PER_DAY
    # All executions of a cell update one row of the day's spending: at most half of that rate.
    cells = max(1, math.ceil(rate / (costs.holds_per_second / 2)))
    waiting = rate * video_seconds
    return Size(
        per_day=per_day,
        rate=rate,
        cells=cells,
        workers=math.ceil(rate * costs.seconds("Worker") / LOAD) + SPARE_WORKERS * cells,
        apis=max(MIN_APIS * cells, math.ceil(rate * costs.seconds("API") / LOAD)),
        temporal_cores=rate * costs.seconds("Temporal") / LOAD,
        postgres_cores=rate * costs.seconds("PostgreSQL") / LOAD,
        waiting=waiting,
        waiting_cores=None
        if costs.waiting is None
        else sum(costs.waiting.cores.values()) * waiting / costs.waiting.in_flight,
        commits=rate * costs.transactions,
        events=rate * costs.history_events,
        gb_per_day=per_day * costs.bytes_per_execution / 1e9,
    )
