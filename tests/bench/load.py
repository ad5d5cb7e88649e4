"""A closed load loop: each lane orders its next execution when the previous one has ended."""

import asyncio
import time
from dataclasses import dataclass

import httpx
import psutil

from tests.bench.cpu import CpuReading
from tests.bench.sides import Finished, NotCompletedError, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round measured.

    cpu_seconds: by the name of the part. others_share: of the machine's processors, taken by
    programs not ours.
    """

    side: str
    in_flight: int
    finished: tuple[Finished, ...]
    wall_seconds: float
    cpu_seconds: dict[str, float]
    others_share: float

    @property
    def cpu_ms(self) -> float:
        """Return the processor milliseconds of all parts per execution."""
        return 1000 * sum(self.cpu_seconds.values()) / len(self.finished)

    @property
    def per_second(self) -> float:
        return len(self.finished) / self.wall_seconds

    def added_seconds(self, provider_seconds: float) -> list[float]:
        """Return the seconds beyond the provider's own time, shortest first."""
        return sorted(one.seconds - provider_seconds for one in self.finished)


async def run_round(
    side: Side, *, executions: int, in_flight: int, limit_seconds: float, pids: dict[str, int]
) -> Round:
    """Run until this many executions are ordered or the time limit ends; await and count open ones.

    The time runs from the first order to the last arrival, so the slow end of a round counts, for
    both sides.
    """
    finished: list[Finished] = []
    left = executions
    before, began = CpuReading.take(pids), time.monotonic()

    async def lane() -> None:
        nonlocal left
        while left > 0 and time.monotonic() - began < limit_seconds:
            left -= 1
            finished.append(await side.run_one())

    try:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(in_flight, executions)):
                lanes.create_task(lane())
    except* (NotCompletedError, TimeoutError, httpx.HTTPError) as failed:
        raise NotCompletedError(
            f"an execution of the {side.name} did not complete: {failed.exceptions[0]!r}"
        ) from None
    after, cores = CpuReading.take(pids), psutil.cpu_count() or 1
    elapsed = time.monotonic() - began
    wall_seconds = max(one.ended_monotonic for one in finished) - began
    return Round(
        side=side.name,
        in_flight=in_flight,
        finished=tuple(finished),
        wall_seconds=wall_seconds,
        cpu_seconds=after.since(before),
        others_share=after.others_since(before) / (elapsed * cores),
    )
