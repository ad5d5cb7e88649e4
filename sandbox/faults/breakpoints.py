"""Breakpoints: calls held at a named stage, so that a test can kill a process there."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from sandbox.jobs.bill import timestamp
from sandbox.settings import Json

ReleaseMode = Literal["go_on", "drop", "reset"]
RELEASE_MODES: tuple[ReleaseMode, ...] = get_args(ReleaseMode)
_CHECK_SECONDS = 0.02  # interval of the check for a disconnected client


@dataclass(slots=True, kw_only=True)
class HeldCall:
    """A held call: `parked`, then `released`, or `gone` if its client disconnected first."""

    fault_id: str
    about: Json
    at: float = field(default_factory=time.time)
    state: Literal["parked", "released", "gone"] = "parked"
    how: ReleaseMode = "go_on"
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def view(self) -> Json:
        return {"time": timestamp(self.at), "state": self.state} | self.about


class Breakpoints:
    """The held calls of all `hold` faults."""

    def __init__(self) -> None:
        self._calls: list[HeldCall] = []

    async def hold(
        self, fault_id: str, about: Json, gone: Callable[[], bool], when_gone: ReleaseMode | None
    ) -> ReleaseMode:
        """Wait until the call is released, and return how to continue.

        when_gone: how to continue once its client has disconnected; None: stay held.
        """
        call = HeldCall(fault_id=fault_id, about=about)
        self._calls.append(call)
        while not call.released.is_set():
            if call.state == "parked" and gone():
                call.state = "gone"
                if when_gone is not None:
                    return when_gone
            try:
                async with asyncio.timeout(_CHECK_SECONDS):
                    await call.released.wait()
            except TimeoutError:
                continue
        return call.how

    def release(self, fault_id: str | None, how: ReleaseMode) -> int:
        """Release the calls held by a fault, or all calls. Return how many were held."""
        waiting = [
            call
            for call in self._calls
            if fault_id in {None, call.fault_id} and not call.released.is_set()
        ]
        held = [call for call in waiting if call.state == "parked"]
        for call in waiting:
            call.how = how
            call.state = "released" if call.state == "parked" else call.state
            call.released.set()
        return len(held)

    def views(self, fault_id: str) -> list[Json]:
        return [call.view() for call in self._calls if call.fault_id == fault_id]

    def clear(self) -> None:
        """Drop all held calls and delete the records."""
        self.release(None, "drop")
        self._calls.clear()
