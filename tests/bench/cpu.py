"""The processor time of each part."""

import os
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """Processor seconds of each part since its start, by the name of the part.

    A part includes its children, such as PostgreSQL's backends. All servers are children of this
    process: its own part includes its own time alone.
    """

    seconds: dict[str, float]
    machine_busy_seconds: float

    @classmethod
    def take(cls, pids: dict[str, int]) -> "CpuReading":
        own = os.getpid()
        return cls(
            seconds={name: _seconds(pid, with_children=pid != own) for name, pid in pids.items()},
            machine_busy_seconds=_machine_busy_seconds(),
        )

    def since(self, before: "CpuReading") -> dict[str, float]:
        return {name: max(0.0, self.seconds[name] - before.seconds[name]) for name in self.seconds}

    def others_since(self, before: "CpuReading") -> float:
        """Return the processor seconds of unrelated programs on the same machine."""
        busy = self.machine_busy_seconds - before.machine_busy_seconds
        return max(0.0, busy - sum(self.since(before).values()))

    def others_share_since(self, before: "CpuReading", seconds: float) -> float:
        """Return the share of the machine that unrelated programs used within these seconds."""
        return self.others_since(before) / (seconds * (psutil.cpu_count() or 1))


def _machine_busy_seconds() -> float:
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "steal"))


def _seconds(pid: int, *, with_children: bool) -> float:
    """Return user and system time of a process and its children, also of ended children."""
    try:
        root = psutil.Process(pid)
        tree = [root, *(root.children(recursive=True) if with_children else [])]
    except psutil.NoSuchProcess:
        return 0.0
    total = 0.0
    for process in tree:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
        if process is root and with_children:
            total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total
