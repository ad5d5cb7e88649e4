"""The measured costs of an execution, which benchmark runs write and the capacity page reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parent / "costs.json"
OTHER: Final = "other"
"""Sandbox, S3 server and load: they share the measured machine and belong to no capacity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What this many rendering videos use: cores by part, and the worker's memory."""

    measured: str
    in_flight: int
    cores: Mapping[str, float]
    worker_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """One execution (image, then video, with a webhook) on a machine with `cores` processors.

    executions_per_second: finished with `in_flight` at a time: the point that the simulation is
    checked against. cpu_ms: by part. bytes_per_execution: rows with their indexes. waiting: None
    if it was not measured yet.
    """

    measured: str
    machine: str
    others_percent: float
    cores: int
    in_flight: int
    provider_seconds: float
    executions_per_second: float
    cpu_ms: Mapping[str, float]
    history_events: float
    transactions: float
    holds_per_second: float
    bytes_per_execution: float
    waiting: Waiting | None

    def seconds(self, part: str) -> float:
        return self.cpu_ms[part] / 1000


def read_costs() -> Costs:
    plain: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    waiting = plain.pop("waiting")
    return Costs(**plain, waiting=None if waiting is None else Waiting(**waiting))


def write_costs(costs: Costs) -> None:
    FILE.write_text(json.dumps(asdict(costs), indent=2) + "\n", encoding="utf-8")
