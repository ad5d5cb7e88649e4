"""Recognises the positions of all films on every connection, and holds what reaches one."""

import asyncio
import hashlib
import hmac
import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from core.platform.crypto.sealing import Sealer
from tests.chaos.film.plan import MEDIA, PICTURES, step_of_token
from tests.chaos.film.positions import POSITIONS, RENDERING, TELLING, Position
from tests.chaos.film.programs import stop_at_work
from tests.chaos.testbed import WORKERS, Testbed
from tests.chaos.traps import TrapSet, Verdict

Place = tuple[int, str]
"""A film and one of its steps."""
Decide = Callable[[Verdict], None]

_TOLD: Final = "rpc:RespondActivityTaskCompleted"
_COMPUTING: Final = ("commit:media-start", "commit:content")
_MOMENTS: Final = {position.point for position in POSITIONS} | {_TOLD}
_OUTPUTS: Final = 3
"""Files of one step: captions have the most."""
_OBJECT_KEY_PURPOSE: Final = "object-key"
_JOBS: Final = """
SELECT j.job_id, j.execution_id, j.step_name,
       substring(e.webhook_url FROM 'chaos-([0-9]{6})')::int AS film
FROM jobs AS j JOIN executions AS e ON e.execution_id = j.execution_id
WHERE j.job_id = ANY($1::text[])
"""
_JOBS_OF_SAME = """
SELECT job_id FROM jobs
WHERE execution_id IN (SELECT execution_id FROM jobs WHERE job_id = ANY($1::text[]))
"""


@dataclass(slots=True, kw_only=True, eq=False)
class Held:
    """What is held at a position of a film."""

    film: int
    position: Position
    process: str
    decide: Decide
    at: float = field(default_factory=time.monotonic)


class FilmTraps(TrapSet):
    """Holds each film at its positions, at whichever worker it reaches them.

    pending: the positions of each film that are not reached yet. down: workers that were killed and
    are not ready again; what they sent before passes. done: the media steps whose files and end are
    committed. again: the beginnings of work on a step that was done.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pending: dict[int, set[Position]] = {}
        self.held: dict[str, list[Held]] = {name: [] for name in WORKERS}
        self.down: set[str] = set()
        self.done: set[Place] = set()
        self.computed: Counter[Place] = Counter()
        self.again: Counter[Place] = Counter()
        self._testbed: Testbed | None = None
        self._key_secret = b""
        self._jobs: dict[str, Place] = {}
        self._keys: dict[str, Place] = {}
        self._films: dict[str, int] = {}
        self._stored: dict[str, list[Place]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, testbed: Testbed, sealer: Sealer) -> None:
        """Use this testbed. sealer: of its encryption keys, from which object keys derive."""
        self._testbed = testbed
        self._key_secret = sealer.derive_key(_OBJECT_KEY_PURPOSE)[0]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def meet(self, process: str, moment: str, tokens: frozenset[str], decide: Decide) -> bool:
        if process not in WORKERS or moment not in _MOMENTS:
            return False
        unknown = [name for name in tokens if name.startswith("job_") and name not in self._jobs]
        if unknown and self._testbed is not None:
            self._begin_task(self._meet_later(process, moment, tokens, decide, unknown))
            return True
        return self._meet(process, moment, tokens, decide)

    async def _meet_later(
        self,
        process: str,
        moment: str,
        tokens: frozenset[str],
        decide: Decide,
        unknown: list[str],
    ) -> None:
        """Let a moment wait until its jobs are known."""
        try:
            assert self._testbed is not None
            same = [row["job_id"] for row in await self._testbed.rows(_JOBS_OF_SAME, unknown)]
            for row in await self._testbed.rows(_JOBS, same):
                self.know(row["job_id"], row["execution_id"], (row["film"], row["step_name"]))
        finally:
            if not self._meet(process, moment, tokens, decide):
                decide(Verdict.GO_ON)

    def know(self, job_id: str, execution_id: str, place: Place) -> None:
        """Recognise the ids and the object keys of a step's job."""
        self._jobs[job_id] = place
        self._films[execution_id] = place[0]
        for number in range(_OUTPUTS):
            digest = hmac.new(self._key_secret, f"{job_id}/{number}".encode(), hashlib.sha256)
            self._keys[digest.hexdigest()[:40]] = place

    def _meet(self, process: str, moment: str, tokens: frozenset[str], decide: Decide) -> bool:
        place = self._place_of(process, moment, tokens)
        if place is None:
            return False
        self._note(process, moment, place)
        point = TELLING if moment == _TOLD else moment
        return self._hold(process, place, point, decide)

    def _hold(self, process: str, place: Place, point: str, decide: Decide) -> bool:
        film, step = place
        position = Position(step, point)
        if process in self.down or position not in self.pending.get(film, ()):
            return False
        self.pending[film].discard(position)
        self.held[process].append(
            Held(film=film, position=position, process=process, decide=decide)
        )
        return True

    def _place_of(self, process: str, moment: str, tokens: frozenset[str]) -> Place | None:
        """Return the film and step of a moment; None if it belongs to none or to several."""
        if moment == _TOLD:
            films = {self._films[name] for name in tokens if name in self._films}
            stored = [place for place in self._stored[process] if place[0] in films]
            for place in stored:
                self._stored[process].remove(place)
            return stored[-1] if stored else None
        places: set[Place] = set()
        for name in tokens:
            if name in self._jobs:
                places.add(self._jobs[name])
            elif name.startswith("chaos-") and (place := step_of_token(name)) is not None:
                places.add(place)
            elif "/" in name:  # an object's key
                digest = name.rpartition("/")[2].partition(".")[0].partition("-")[0]
                places |= {self._keys[digest]} if digest in self._keys else set()
        return places.pop() if len(places) == 1 else None

    def _note(self, process: str, moment: str, place: Place) -> None:
        is_media = place[1] in MEDIA
        if moment == "committed:asset":
            self._stored[process].append(place)
            if is_media:
                self.done.add(place)
        if is_media and moment in _COMPUTING and place in self.done:
            self.again[place] += 1
        if is_media and moment == "committed:content":
            self.computed[place] += 1
            if Position(place[1], RENDERING) in self.pending.get(place[0], ()):
                self._begin_task(self._hold_program(process, place))

    async def _hold_program(self, process: str, place: Place) -> None:
        assert self._testbed is not None
        worker = self._testbed.pid_of(process)
        program = await stop_at_work(worker, writes_early=place[1] not in PICTURES)
        if program is None:
            return

        def decide(verdict: Verdict) -> None:
            if verdict is Verdict.GO_ON:
                with suppress(ProcessLookupError):
                    os.kill(program.pid, signal.SIGCONT)

        same = self._testbed.pid_of(process) == worker and place not in self.done
        if not same or not self._hold(process, place, RENDERING, decide):
            decide(Verdict.GO_ON)

    def _begin_task(self, work: Coroutine[object, object, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def take(self, process: str) -> list[Held]:
        """Take what is held at a worker that is about to be killed."""
        held, self.held[process] = self.held[process], []
        self.down.add(process)
        self._stored.pop(process, None)
        return held

    def let_go(self) -> None:
        """Hold nothing any longer."""
        self.pending.clear()
        for process in WORKERS:
            for held in self.held[process]:
                held.decide(Verdict.GO_ON)
            self.held[process] = []
