"""How many streams a credential, a user and this process have open."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from core.domain.ids import UserId
from core.platform.observability.metrics import EVENT_STREAMS


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """The most streams that one API process keeps open."""

    per_key: int
    per_user: int
    per_process: int


class TooManyStreamsError(Exception):
    """A limit is reached. subject: whose limit it is."""

    def __init__(self, subject: str, limit: int) -> None:
        super().__init__(f"{subject}: {limit}")
        self.subject = subject
        self.limit = limit


class OpenStreams:
    """Counts the open streams of this process."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._by_key = Counter[tuple[UserId, str]]()
        self._by_user = Counter[UserId]()
        self._total = 0

    def check(self, user_id: UserId, credential: str) -> None:
        """Raise TooManyStreamsError if one more stream would exceed a limit."""
        limits = self._limits
        if self._by_key[user_id, credential] >= limits.per_key:
            raise TooManyStreamsError("this credential", limits.per_key)
        if self._by_user[user_id] >= limits.per_user:
            raise TooManyStreamsError("this account", limits.per_user)
        if self._total >= limits.per_process:
            raise TooManyStreamsError("this server", limits.per_process)

    @contextmanager
    def counting(self, user_id: UserId, credential: str) -> Generator[None]:
        """Count one stream while the context is open."""
        self._add(user_id, credential, 1)
        try:
            yield
        finally:
            self._add(user_id, credential, -1)

    def _add(self, user_id: UserId, credential: str, number: int) -> None:
        self._by_key[user_id, credential] += number
        self._by_user[user_id] += number
        self._total += number
        if not self._by_key[user_id, credential]:
            del self._by_key[user_id, credential]
        if not self._by_user[user_id]:
            del self._by_user[user_id]
        EVENT_STREAMS.set(self._total)
