"""Concurrency limits of webhook attempts, per endpoint and per user, within a worker process.

A receiver that hangs occupies only its own slots. An attempt without a slot is retried later and
occupies no activity slot meanwhile. Across users, Temporal's fairness keys share the task queue.
"""

from collections import Counter
from collections.abc import Callable
from random import random
from typing import Final, Self

from core.domain.ids import EndpointId, UserId
from core.platform.temporal.policies import (
    ATTEMPTS_PER_ENDPOINT,
    ATTEMPTS_PER_FAILING_ENDPOINT,
    ATTEMPTS_PER_USER,
    SLOT_RETRY_MAX_SECONDS,
    SLOT_RETRY_MIN_SECONDS,
)

SLOT_RETRY_JITTER: Final = 0.5
"""The share that is added at random: attempts that found no slot together must spread out."""


class AttemptSlots:
    """A bounded number of slots for each endpoint and each user. per_user: over all endpoints."""

    def __init__(
        self,
        *,
        per_user: int = ATTEMPTS_PER_USER,
        per_endpoint: int = ATTEMPTS_PER_ENDPOINT,
        per_failing_endpoint: int = ATTEMPTS_PER_FAILING_ENDPOINT,
    ) -> None:
        self._per_user = per_user
        self._per_endpoint = per_endpoint
        self._per_failing_endpoint = per_failing_endpoint
        self._endpoints: Counter[EndpointId] = Counter()
        self._users: Counter[UserId] = Counter()

    @classmethod
    def of(cls, activity_slots: int) -> Self:
        """Return the limits for a process with so many webhook activity slots."""
        return cls(per_user=max(1, min(ATTEMPTS_PER_USER, activity_slots // 4)))

    def acquire(
        self, user_id: UserId, endpoint_id: EndpointId, *, failing: bool
    ) -> Callable[[], None] | None:
        """Take a slot and return the function that releases it; None if there is no free slot."""
        limit = self._per_failing_endpoint if failing else self._per_endpoint
        if self._endpoints[endpoint_id] >= limit or self._users[user_id] >= self._per_user:
            return None
        self._endpoints[endpoint_id] += 1
        self._users[user_id] += 1

        def release() -> None:
            # Subtraction drops counters that reach zero, so idle endpoints use no memory.
            self._endpoints -= Counter({endpoint_id: 1})
            self._users -= Counter({user_id: 1})

        return release


def slot_retry_seconds(tries: int) -> float:
    """Return the pause after this many tries (from 1) without a slot: doubling, with jitter."""
    pause = min(SLOT_RETRY_MIN_SECONDS * 2 ** min(tries - 1, 20), SLOT_RETRY_MAX_SECONDS)
    return pause * (1 + SLOT_RETRY_JITTER * random())  # noqa: S311 - jitter
