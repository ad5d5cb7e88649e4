"""A discrete-event simulation of executions that share processors.

An execution visits the parts in rounds, one for each checkpoint: Temporal, a worker, PostgreSQL.
The API takes part at the order and at each callback. Service times are exponential with the
measured means. It has two uses: a closed loop on the measured machine, whose throughput must agree
with the measurement, and orders at random moments on an installation of the planned size.
"""

import heapq
import random
from collections import deque
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from tests.bench.capacity.costs import OTHER, Costs
from tests.bench.capacity.sizing import Size

CHECKPOINTS: Final = 10
RENDERS_AFTER: Final = (2, 5)
"""The rounds after which the execution waits for the provider: the image, then the video."""
API_VISITS: Final = 1 + len(RENDERS_AFTER)
SEED: Final = 1


class Station:
    """Servers with one queue, first come, first served."""

    def __init__(self, servers: int) -> None:
        self.free = servers
        self.queue: deque[Process] = deque()


Process = Generator["float | Station"]
"""Yields a delay in seconds, or a station to enter. The simulation resumes it afterwards."""


@dataclass(slots=True)
class Clock:
    """The event list."""

    now: float = 0.0
    _events: list[tuple[float, int, Process]] = field(
        default_factory=list[tuple[float, int, Process]]
    )
    _numbers: "count[int]" = field(default_factory=count)

    def start(self, process: Process, after: float = 0.0) -> None:
        heapq.heappush(self._events, (self.now + after, next(self._numbers), process))

    def leave(self, station: Station) -> None:
        if station.queue:
            self.start(station.queue.popleft())
        else:
            station.free += 1

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, process = heapq.heappop(self._events)
            self._resume(process)

    def _resume(self, process: Process) -> None:
        for step in process:
            if not isinstance(step, Station):
                self.start(process, step)
                return
            if step.free == 0:
                step.queue.append(process)
                return
            step.free -= 1


@dataclass(slots=True, kw_only=True)
class Installation:
    """stations: the stations that a part occupies while it works, in this order."""

    costs: Costs
    clock: Clock
    stations: Mapping[str, tuple[Station, ...]]
    chance: random.Random

    def execution(self, image_seconds: float, video_seconds: float) -> Process:
        """Visit all parts of one execution."""
        yield from self._use("API", API_VISITS)
        renders = dict(zip(RENDERS_AFTER, (image_seconds, video_seconds), strict=True))
        for number in range(CHECKPOINTS):
            for part in ("Temporal", "Worker", "PostgreSQL", OTHER):
                yield from self._use(part, CHECKPOINTS)
            if number in renders:
                yield renders[number]
                yield from self._use("API", API_VISITS)

    def _use(self, part: str, visits: int) -> Process:
        """Occupy the part's stations for one of this many visits."""
        stations = self.stations.get(part)
        if stations is None:
            return
        for station in stations:
            yield station
        yield self.chance.expovariate(visits / self.costs.seconds(part))
        for station in stations:
            self.clock.leave(station)


def closed_loop(costs: Costs, seconds: float = 200.0, warm_up: float = 20.0) -> float:
    """Return the executions a second on the measured machine with the measured number in flight.

    The Python processes use one processor each at most; all parts share the machine's.
    """
    machine = Station(costs.cores)
    stations = {part: (Station(1), machine) for part in ("API", "Worker")}
    stations |= dict.fromkeys(("Temporal", "PostgreSQL", OTHER), (machine,))
    clock = Clock()
    installation = Installation(
        costs=costs, clock=clock, stations=stations, chance=random.Random(SEED)
    )
    finished = 0

    def lane() -> Process:
        nonlocal finished
        while True:
            half = costs.provider_seconds / 2
            yield from installation.execution(half, half)
            finished += clock.now > warm_up

    for _ in range(costs.in_flight):
        clock.start(lane())
    clock.run(warm_up + seconds)
    return finished / seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """Seconds beyond the provider's own time. late: the slowest hundredth."""

    executions: int
    median_seconds: float
    late_seconds: float


def open_loop(costs: Costs, planned: Size, executions: int = 20_000) -> Simulated:
    """Simulate one cell of the planned size at its peak, with renders that take no time.

    The provider's time uses no processor, so it is left out.
    """
    rate, cells = planned.rate / planned.cells, planned.cells
    stations = {
        "API": Station(max(1, planned.apis // cells)),
        "Worker": Station(max(1, planned.workers // cells)),
        "Temporal": Station(max(1, round(planned.temporal_cores / cells))),
        "PostgreSQL": Station(max(1, round(planned.postgres_cores / cells))),
    }
    clock, chance = Clock(), random.Random(SEED)
    installation = Installation(
        costs=costs,
        clock=clock,
        stations={part: (station,) for part, station in stations.items()},
        chance=chance,
    )
    added: list[float] = []

    def execution(ordered: float) -> Process:
        yield from installation.execution(0.0, 0.0)
        added.append(clock.now - ordered)

    ordered = 0.0
    for _ in range(executions):
        ordered += chance.expovariate(rate)
        clock.start(execution(ordered), ordered)
    clock.run(float("inf"))
    added.sort()
    return Simulated(
        executions=executions,
        median_seconds=added[executions // 2],
        late_seconds=added[executions * 99 // 100],
    )
