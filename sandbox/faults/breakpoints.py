"""Calls held at a named moment until they are released, so that a test can kill or stop somebody
just then.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from sandbox.jobs.bill import timestamp
from sandbox.settings import Json

How = Literal["go_on", "drop", "reset"]
HOWS: tuple[How, ...] = get_args(How)
_LOOK_SECONDS = 0.02  # how soon it is noticed that a held call's client has gone


@dataclass(slots=True, kw_only=True)
class Parked:
    """One held call. state: parked, then released, or gone when its client went first."""

    fault_id: str
    about: Json
    at: float = field(default_factory=time.time)
    state: Literal["parked", "released", "gone"] = "parked"
    how: How = "go_on"
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def view(self) -> Json:
        return {"time": timestamp(self.at), "state": self.state} | self.about


class ParkingLot:
    def __init__(self) -> None:
        self._calls: list[Parked] = []

    async def park(
        self, fault_id: str, about: Json, gone: Callable[[], bool], when_gone: How | None
    ) -> How:
        """Until it is released, and then how. when_gone: how it goes on without its client; None:
        it stays.
        """
        call = Parked(fault_id=fault_id, about=about)
        self._calls.append(call)
        while not call.released.is_set():
            if call.state == "parked" and gone():
                call.state = "gone"
                if when_gone is not None:
                    return when_gone
            try:
                await asyncio.wait_for(call.released.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue
        return call.how

    def release(self, fault_id: str | None, how: How) -> int:
        """The calls held by one fault, or by all: how many went on."""
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
        """Whoever is held goes nowhere."""
        self.release(None, "drop")
        self._calls.clear()
