"""Named moments on the wire, and the traps that wait for them.

A wire tap reports every moment it recognises (`commit:intent`, `create:answered`,
`rpc:StartWorkflowExecution` …). A trap that fits takes it: the bytes of that moment stay with us
until a verdict.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """go_on: the bytes held are passed on. drop: the connection is cut, and they are lost."""

    GO_ON = "go_on"
    DROP = "drop"


@dataclass(slots=True, kw_only=True, eq=False)
class Parked:
    """One held moment. tokens: the ids and prompt numbers that went by on it, to tell whose it is.
    at: wall clock.
    """

    process: str
    moment: str
    tokens: frozenset[str]
    at: float
    at_monotonic: float
    decide: Callable[[Verdict], None]


@dataclass(slots=True, kw_only=True, eq=False)
class Trap:
    """Takes the next `limit` moments of this name at these processes. at_once: the verdict comes
    with the moment.

    last: it waits until all others are full, because its moment comes all the time.
    """

    name: str
    processes: frozenset[str]
    moment: str
    limit: int
    at_once: Verdict | None = None
    last: bool = False
    parked: list[Parked] = field(default_factory=list[Parked])
    armed: bool = True

    @property
    def is_full(self) -> bool:
        return len(self.parked) >= self.limit

    def fits(self, process: str, moment: str) -> bool:
        return (
            self.armed and not self.is_full and moment == self.moment and process in self.processes
        )


class Gate:
    """All traps of the moment. Several may wait for one moment: the first with room takes it."""

    def __init__(self) -> None:
        self._traps: list[Trap] = []

    def arm(self, traps: Iterable[Trap]) -> None:
        self._traps = list(traps)
        self._wake_last()

    def _wake_last(self) -> None:
        others_full = all(trap.is_full for trap in self._traps if not trap.last)
        for trap in self._traps:
            trap.armed = others_full or not trap.last

    def arm_last(self) -> None:
        """There is no more time to wait for the others."""
        for trap in self._traps:
            trap.armed = True

    def disarm(self) -> None:
        """Nothing more is taken; what is parked waits for its verdict."""
        for trap in self._traps:
            trap.armed = False

    def meet(
        self, process: str, moment: str, tokens: frozenset[str], decide: Callable[[Verdict], None]
    ) -> bool:
        """True: a trap took it, and will say what becomes of it."""
        trap = next((trap for trap in self._traps if trap.fits(process, moment)), None)
        if trap is None:
            return False
        parked = Parked(
            process=process,
            moment=moment,
            tokens=tokens,
            at=time.time(),
            at_monotonic=time.monotonic(),
            decide=_once(decide),
        )
        trap.parked.append(parked)
        if trap.is_full:
            self._wake_last()
        if trap.at_once is not None:
            asyncio.get_running_loop().call_soon(parked.decide, trap.at_once)
        return True

    def release(self, trap: Trap, verdict: Verdict) -> None:
        for parked in trap.parked:
            parked.decide(verdict)

    def release_all(self, verdict: Verdict) -> None:
        """For the end of a round: nobody stays parked. What had its verdict keeps it."""
        self.disarm()
        for trap in self._traps:
            self.release(trap, verdict)
        self._traps = []


def _once(decide: Callable[[Verdict], None]) -> Callable[[Verdict], None]:
    done = False

    def decide_once(verdict: Verdict) -> None:
        nonlocal done
        if not done:
            done = True
            decide(verdict)

    return decide_once
