"""The faults that tests request: what fails, at which operation and how often."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from sandbox.jobs.bill import timestamp
from sandbox.models.model import PROVIDERS, Provider
from sandbox.settings import Json, as_object

OPERATIONS = ("create", "status", "result", "cancel", "list", "file", "callback", "keys", "*")

# Faults of HTTP responses; `operation` selects the call (default: create).
# `hold` has three places, one for each stage.
BEFORE_READ = frozenset({"hold before_read"})
BEFORE = frozenset(
    {
        "drop_before_accept",
        "hang",
        "refuse_429",
        "refuse",
        "error_5xx_before_accept",
        "down",
        "hold before_accept",
    }
)
AFTER = frozenset(
    {
        "drop_after_accept", "answer_502_after_accept", "answer_late", "malformed_json", "html_answer", "huge_body",
        "no_id", "cut_body", "hold after_accept", "hold after_head",
    }
)  # fmt: skip
ANSWERS = BEFORE | AFTER
STAGES = ("before_read", "before_accept", "after_accept", "after_head")
# Each other fault has one fixed place; `operation` has no effect on it.
JOBS = frozenset(
    {
        "stuck",
        "fail_after",
        "moderated",
        "empty_output",
        "callback_early",
        "bill_factor",
        "accept_twice",
        "unlisted",
    }
)
FILES = frozenset({"wrong_bytes", "expired_file", "slow_file", "file_encoding", "late_index"})
CALLBACKS = frozenset({"callback_duplicate", "callback_forged", "callback_lost", "callback_late"})
CALLBACK_HOLDS = frozenset(f"hold {stage}" for stage in STAGES)
STATUSES = frozenset({"unknown_status"})
BACKWARDS = frozenset({"status_backwards"})
CANCELS = frozenset({"cancel_loses"})
ALL = frozenset(
    name.split()[0]
    for name in BEFORE_READ | ANSWERS | JOBS | FILES | CALLBACKS | STATUSES | BACKWARDS | CANCELS
)


class FaultError(ValueError):
    """The requested fault is invalid."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """A requested fault and the records of its firing; `times` is -1 without a limit."""

    id: str
    provider: str
    model: str
    operation: str
    fault: str
    times: int
    params: Json
    ordered_at: float = field(default_factory=time.monotonic)
    fired: list[Json] = field(default_factory=list[Json])

    @property
    def place(self) -> str:
        """Return the fault's name, with the stage of a `hold`."""
        return f"hold {self.params['stage']}" if self.fault == "hold" else self.fault

    def view(self) -> Json:
        return {
            "id": self.id,
            "provider": self.provider,
            "model": self.model,
            "operation": self.operation,
            "fault": self.fault,
            "times": self.times,
            "params": self.params,
            "fired": len(self.fired),
            "fired_at": self.fired,
        }

    def fits(self, provider: Provider, model: str | None, operation: str) -> bool:
        if self.fault == "down" and time.monotonic() > self.ordered_at + float(
            self.params.get("seconds", "inf")
        ):
            return False
        return (
            (self.times < 0 or len(self.fired) < self.times)
            and self.provider in {"*", provider}
            and self.model in {"*", model}
            and self.operation in {"*", operation}
        )


class FaultBook:
    """The faults in force, in the order in which they were added."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._numbers = itertools.count(1)

    def add(self, order: Json) -> Fault:
        """Add a fault. Raise FaultError that names the invalid field."""
        name = order.get("fault")
        if name not in ALL:
            raise FaultError(f"unknown fault {name!r}; known: {', '.join(sorted(ALL))}")
        if extra := set(order) - {"provider", "model", "operation", "fault", "times", "params"}:
            raise FaultError(f"unknown fields: {', '.join(sorted(extra))}")
        operation = (
            order.get("operation", _default_operation(name))
            if name in ORDERED_PLACES
            else _default_operation(name)
        )
        if operation not in OPERATIONS:
            raise FaultError(f"unknown operation {operation!r}; known: {', '.join(OPERATIONS)}")
        provider, params = order.get("provider", "*"), as_object(order.get("params", {}))
        times = order.get("times", -1 if name == "down" else 1)
        if provider not in {*PROVIDERS, "*"}:
            raise FaultError(f"unknown provider {provider!r}; known: {', '.join(PROVIDERS)}, *")
        if not isinstance(times, int) or isinstance(times, bool) or params is None:
            raise FaultError("times must be an integer (-1: without limit) and params an object")
        _check(name, params)
        fault = Fault(
            id=f"fault-{next(self._numbers)}", provider=provider, model=order.get("model", "*"),
            operation=operation, fault=name, times=times, params=params,
        )  # fmt: skip
        self._faults[fault.id] = fault
        return fault

    def take(
        self, provider: Provider, model: str | None, operation: str, places: frozenset[str],
        when: Callable[[Fault], bool] = lambda _: True, **about: Any,
    ) -> Fault | None:  # fmt: skip
        """Return the first active fault for this place, or None, and record that it fired.

        `about` is stored in the record.
        """
        for fault in self._faults.values():
            if fault.place in places and fault.fits(provider, model, operation) and when(fault):
                fault.fired.append({"time": timestamp(time.time()), "operation": operation} | about)
                return fault
        return None

    def all(self) -> list[Fault]:
        return list(self._faults.values())

    def remove(self, fault_id: str) -> bool:
        return self._faults.pop(fault_id, None) is not None

    def clear(self) -> None:
        self._faults.clear()


# Faults whose place depends on `operation`.
ORDERED_PLACES = (ANSWERS | {"hold"}) - CALLBACK_HOLDS


def _check(name: str, params: Json) -> None:
    """Fill in default parameters that decide a fault's place. Raise FaultError if invalid."""
    if name == "hold" and params.setdefault("stage", "before_accept") not in STAGES:
        raise FaultError(f"unknown stage {params['stage']!r}; known: {', '.join(STAGES)}")
    if name == "hold" and params.get("when_gone", "go_on") not in {"go_on", "drop", "stay"}:
        raise FaultError("when_gone must be go_on, drop or stay")
    if name == "cut_body" and params.setdefault("after", "head") not in {"head", "middle"}:
        raise FaultError("after must be head or middle")
    if name == "bill_factor":
        try:
            fine = isinstance(params.get("factor"), str) and 0 <= Decimal(params["factor"]) <= 1000
        except InvalidOperation:
            fine = False
        if not fine:
            raise FaultError("factor must be a decimal number as text, from 0 to 1000")


def _default_operation(name: str) -> str:
    if name == "down":
        return "*"
    if name in FILES:
        return "file"
    if name in CALLBACKS:
        return "callback"
    if name in STATUSES | BACKWARDS:
        return "status"
    return "cancel" if name in CANCELS else "create"
