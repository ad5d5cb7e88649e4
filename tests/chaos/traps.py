"""Named moments on a connection, and the traps that wait for them.

A tap reports every moment it recognises (`commit:intent`, `create:answered`,
`rpc:StartWorkflowExecution` …). A matching trap holds the bytes of that moment until a verdict.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """What happens to held bytes.

    go_on: they are passed on. drop: the connection is cut, and they are lost.
    """

    GO_ON = "go_on"
    DROP = "drop"


@dataclass(slots=True, kw_only=True, eq=False)
class HeldMoment:
    """One held moment.

    tokens: the ids and prompt numbers seen on the connection, which identify its orders. at: wall
    clock.
    """

    process: str
    moment: str
    tokens: frozenset[str]
    at: float
    at_monotonic: float
    decide: Callable[[Verdict], None]


@dataclass(slots=True, kw_only=True, eq=False)
class Trap:
    """A trap for the next `limit` moments of this name at these processes.

    at_once: the verdict comes with the moment.
    last: wait until all others are full, because this moment is frequent.
    """

    name: str
    processes: frozenset[str]
    moment: str
    limit: int
    at_once: Verdict | None = None
    last: bool = False
    held_moments: list[HeldMoment] = field(default_factory=list[HeldMoment])
    armed: bool = True

    @property
    def is_full(self) -> bool:
        return len(self.held_moments) >= self.limit

    def fits(self, process: str, moment: str) -> bool:
        return (
            self.armed and not self.is_full and moment == self.moment and process in self.processes
        )


class TrapSet:
    """All current traps.

    Of several traps for one moment, the first with a free slot takes it.
    """

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
        """Arm the last traps without waiting for the others any longer."""
        for trap in self._traps:
            trap.armed = True

    def disarm(self) -> None:
        """Take no more moments; held moments wait for their verdict."""
        for trap in self._traps:
            trap.armed = False

    def meet(
        self, process: str, moment: str, tokens: frozenset[str], decide: Callable[[Verdict], None]
    ) -> bool:
        """Return whether a trap took the moment; the trap then decides its outcome."""
        trap = next((trap for trap in self._traps if trap.fits(process, moment)), None)
        if trap is None:
            return False
        held = HeldMoment(
            process=process,
            moment=moment,
            tokens=tokens,
            at=time.time(),
            at_monotonic=time.monotonic(),
            decide=_once(decide),
        )
        trap.held_moments.append(held)
        if trap.is_full:
            self._wake_last()
        if trap.at_once is not None:
            asyncio.get_running_loop().call_soon(held.decide, trap.at_once)
        return True

    def release(self, trap: Trap, verdict: Verdict) -> None:
        for held in trap.held_moments:
            held.decide(verdict)

    def release_all(self, verdict: Verdict) -> None:
        """Release everything at the end of a round.

        Earlier verdicts stay.
        """
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
