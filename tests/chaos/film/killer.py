"""Kills the workers at which films are held."""

import asyncio
import signal
import time
from dataclasses import dataclass, field
from typing import Final

import psutil

from tests.chaos.film.programs import programs_of
from tests.chaos.film.traps import FilmTraps, Held
from tests.chaos.testbed import WORKERS, Testbed
from tests.chaos.traps import Verdict

GATHER_SECONDS: Final = 2.5
"""From the first film that is held at a worker to its end: shorter than every time-out."""
PAUSE_SECONDS: Final = 0.05
UP_SECONDS: Final = 200.0


@dataclass(slots=True, kw_only=True)
class Killer:
    """Kills a worker once something is held there, and waits for its successor.

    fired: what was held at a worker that SIGKILL ended. void: at one that ended otherwise.
    survivors: programs that outlived their worker.
    """

    testbed: Testbed
    traps: FilmTraps
    fired: list[Held] = field(default_factory=list[Held])
    void: list[Held] = field(default_factory=list[Held])
    survivors: list[str] = field(default_factory=list[str])
    kills: int = 0
    _recovering: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])

    async def run(self) -> None:
        """Kill until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            now = time.monotonic()
            for name in WORKERS:
                held = self.traps.held[name]
                if held and now - held[0].at > GATHER_SECONDS:
                    self._kill(name)

    async def recovered(self) -> None:
        """Wait until every killed worker is ready again."""
        while self._recovering:
            await asyncio.wait(self._recovering)

    def _kill(self, name: str) -> None:
        programs = programs_of(self.testbed.pid_of(name))
        held, since = self.traps.take(name), time.time()
        self.testbed.signal(name, signal.SIGKILL)
        for one in held:
            one.decide(Verdict.DROP)
        self.kills += 1
        task = asyncio.create_task(self._after(name, since, held, programs))
        self._recovering.add(task)
        task.add_done_callback(self._recovering.discard)

    async def _after(
        self, name: str, since: float, held: list[Held], programs: list[psutil.Process]
    ) -> None:
        await self.testbed.until_up((name,), since, UP_SECONDS)
        self.survivors += [f"ffmpeg of {name}" for one in programs if _is_alive(one)]
        ended = next(one for one in self.testbed.ends_since(since) if one.name == name)
        (self.fired if ended.code == -signal.SIGKILL else self.void).extend(held)
        self.traps.down.discard(name)


def _is_alive(program: psutil.Process) -> bool:
    try:
        return program.is_running() and program.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
