"""How many tries an endpoint, and a user, may have at once in this process: a receiver that hangs
delays nobody else.

Who finds no room comes back later, and holds no slot meanwhile: the longer the queue and the slower
the receiver, the later.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import random
from typing import Final, TypeVar

from core.domain.ids import EndpointId, UserId
from core.platform.temporal.policies import (
    PUT_BACK_MAX_SECONDS,
    PUT_BACK_MIN_SECONDS,
    TRIES_PER_ENDPOINT,
    TRIES_PER_FAILING_ENDPOINT,
)

FIRST_GUESS_SECONDS: Final = 1.0
"""What a try takes, until one has ended."""
LEARNS: Final = 0.3
"""How much of the last try's time goes into what a try usually takes."""
KEPT: Final = 1000
PUT_BACK_JITTER: Final = 0.25

Owner = TypeVar("Owner")


@dataclass(slots=True)
class _Room:
    """trying: how many now. due_at: when the last one that was put back comes again."""

    trying: int = 0
    usual_seconds: float = FIRST_GUESS_SECONDS
    due_at: float = 0.0

    def wait_seconds(self, limit: int, now: float) -> float:
        """As long as those before it are expected to take."""
        expected = max(self.due_at, now) + self.usual_seconds / limit
        self.due_at = min(expected, now + PUT_BACK_MAX_SECONDS)
        wait = max(self.due_at - now, PUT_BACK_MIN_SECONDS)
        return wait * (1 + PUT_BACK_JITTER * random())  # noqa: S311 - only spreads

    def ended(self, seconds: float) -> None:
        self.trying -= 1
        self.usual_seconds += LEARNS * (seconds - self.usual_seconds)


@dataclass(frozen=True, slots=True)
class PutBack:
    """No room now; to be tried again after so long."""

    seconds: float


class EndpointRooms:
    """The rooms of a process. per_user: over all its endpoints."""

    def __init__(
        self,
        *,
        per_user: int,
        per_endpoint: int = TRIES_PER_ENDPOINT,
        per_failing_endpoint: int = TRIES_PER_FAILING_ENDPOINT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_user = per_user
        self._per_endpoint = per_endpoint
        self._per_failing_endpoint = per_failing_endpoint
        self._clock = clock
        self._endpoints: dict[EndpointId, _Room] = {}
        self._users: dict[UserId, _Room] = {}

    def enter(
        self, user_id: UserId, endpoint_id: EndpointId, *, failing: bool
    ) -> Callable[[], None] | PutBack:
        """Take room for one try. What is returned gives it back, to be called once; or how long to
        wait for room.
        """
        endpoint, user = (
            self._endpoints.setdefault(endpoint_id, _Room()),
            self._users.setdefault(user_id, _Room()),
        )
        began = self._clock()
        limit = self._per_failing_endpoint if failing else self._per_endpoint
        for room, most in ((endpoint, limit), (user, self._per_user)):
            if room.trying >= most:
                return PutBack(room.wait_seconds(most, began))
        endpoint.trying += 1
        user.trying += 1

        def leave() -> None:
            now = self._clock()
            for room in (endpoint, user):
                room.ended(now - began)
            _forget_idle(self._endpoints, now)
            _forget_idle(self._users, now)

        return leave


def _forget_idle(rooms: dict[Owner, _Room], now: float) -> None:
    if len(rooms) > KEPT:
        for owner in [
            owner for owner, room in rooms.items() if room.trying == 0 and room.due_at < now
        ]:
            del rooms[owner]
