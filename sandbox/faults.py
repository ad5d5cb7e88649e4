"""Faults on command: what goes wrong, where, and how often."""

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from sandbox.bill import timestamp
from sandbox.models import Provider
from sandbox.settings import Json, as_object

OPERATIONS = ("create", "status", "result", "cancel", "list", "file", "callback", "keys", "*")

# On HTTP answers; `operation` says on which (create unless given).
BEFORE = frozenset({"drop_before_accept", "hang", "refuse_429", "refuse", "error_5xx_before_accept"})
AFTER = frozenset(
    {"drop_after_accept", "answer_502_after_accept", "answer_late", "malformed_json", "html_answer", "huge_body"}
)
ANSWERS = BEFORE | AFTER
# The others have one place where they make sense, whatever `operation` says.
JOBS = frozenset({"stuck", "fail_after", "moderated", "empty_output", "callback_early"})
FILES = frozenset({"wrong_bytes", "expired_file", "slow_file"})
CALLBACKS = frozenset({"callback_duplicate", "callback_forged", "callback_lost", "callback_late"})
STATUSES = frozenset({"unknown_status"})
CANCELS = frozenset({"cancel_loses"})
ALL = ANSWERS | JOBS | FILES | CALLBACKS | STATUSES | CANCELS


class FaultError(ValueError):
    """A fault that can't be ordered as described."""


@dataclass(slots=True, kw_only=True)
class Fault:
    id: str
    provider: str
    model: str
    operation: str
    fault: str
    times: int
    params: Json
    fired: list[Json] = field(default_factory=list[Json])

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
        return (
            (self.times < 0 or len(self.fired) < self.times)
            and self.provider in {"*", provider}
            and self.model in {"*", model}
            and self.operation in {"*", operation}
        )


class FaultBook:
    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._numbers = itertools.count(1)

    def add(self, order: Json) -> Fault:
        """Raises FaultError, naming what is wrong."""
        name = order.get("fault")
        if name not in ALL:
            raise FaultError(f"unknown fault {name!r}; known: {', '.join(sorted(ALL))}")
        if extra := set(order) - {"provider", "model", "operation", "fault", "times", "params"}:
            raise FaultError(f"unknown fields: {', '.join(sorted(extra))}")
        operation = order.get("operation", "create") if name in ANSWERS else _home(name)
        if operation not in OPERATIONS:
            raise FaultError(f"unknown operation {operation!r}; known: {', '.join(OPERATIONS)}")
        provider, times, params = order.get("provider", "*"), order.get("times", 1), as_object(order.get("params", {}))
        if provider not in {"fal", "replicate", "*"}:
            raise FaultError(f"unknown provider {provider!r}; known: fal, replicate, *")
        if not isinstance(times, int) or isinstance(times, bool) or params is None:
            raise FaultError("times is an integer (-1: for ever), params an object")
        fault = Fault(
            id=f"fault-{next(self._numbers)}", provider=provider, model=order.get("model", "*"),
            operation=operation, fault=name, times=times, params=params,
        )  # fmt: skip
        self._faults[fault.id] = fault
        return fault

    def take(
        self, provider: Provider, model: str | None, operation: str, names: frozenset[str], **about: Any
    ) -> Fault | None:
        """The first fault ordered for this place, marked as fired. `about` is kept with the mark."""
        for fault in self._faults.values():
            if fault.fault in names and fault.fits(provider, model, operation):
                fault.fired.append({"time": timestamp(time.time()), "operation": operation} | about)
                return fault
        return None

    def views(self) -> list[Json]:
        return [fault.view() for fault in self._faults.values()]

    def remove(self, fault_id: str) -> bool:
        return self._faults.pop(fault_id, None) is not None

    def clear(self) -> None:
        self._faults.clear()


def _home(name: str) -> str:
    if name in FILES:
        return "file"
    if name in CALLBACKS:
        return "callback"
    if name in STATUSES:
        return "status"
    return "cancel" if name in CANCELS else "create"
