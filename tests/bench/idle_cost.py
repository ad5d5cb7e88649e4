"""What the parts use while nothing is ordered: processor time and memory."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from tests.bench.cpu import CpuReading
from tests.bench.tables import spread

OURS: Final = ("API", "Worker", "Temporal", "PostgreSQL")
"""The parts that count: the sandbox stands in for the providers."""
SANDBOX: Final = "Sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleCost:
    """The cost of an idle stack.

    cores: by part. mib: proportional memory by part. others_share: the share of the machine that
    unrelated programs use.
    """

    cores: Mapping[str, float]
    mib: Mapping[str, float]
    others_share: float

    @property
    def all_cores(self) -> float:
        return sum(self.cores[name] for name in OURS)

    @property
    def all_mib(self) -> float:
        return sum(self.mib[name] for name in OURS)


async def measure_cost(pids: dict[str, int], seconds: float) -> IdleCost:
    """Measure for this long, and the memory at the end."""
    before = CpuReading.take(pids)
    await asyncio.sleep(seconds)
    after = CpuReading.take(pids)
    machine_seconds = seconds * (psutil.cpu_count() or 1)
    return IdleCost(
        cores={name: spent / seconds for name, spent in after.since(before).items()},
        mib={name: _mib(pid) for name, pid in pids.items()},
        others_share=after.others_since(before) / machine_seconds,
    )


def cost_cells(costs: Sequence[IdleCost]) -> list[str]:
    """Return the cells of a row: all parts together, each part, and the sandbox."""
    return [
        spread([cost.all_cores for cost in costs], 3),
        *(spread([cost.cores[name] for cost in costs], 3) for name in (*OURS, SANDBOX)),
    ]


COST_HEAD: Final = ("all four", *OURS, "sandbox")


def others_line(costs: Sequence[IdleCost]) -> str:
    shares = spread([100 * cost.others_share for cost in costs], 0)
    return f"Other programs used {shares} % of the machine."


def _mib(pid: int) -> float:
    """Return the memory of a process and its children, with shared pages counted once."""
    try:
        root = psutil.Process(pid)
        tree = [root, *(root.children(recursive=True) if pid != os.getpid() else ())]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0
    for process in tree:
        try:
            memory = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        total += getattr(memory, "pss", memory.uss)
    return total / 2**20
