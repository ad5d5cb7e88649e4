"""Sessions of the operator's console, in the memory of its process, and their dry runs."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from cli.console.links import LIFE_SECONDS, Link, read_ticket
from core.platform.crypto.sealing import Sealer

SESSION_SECONDS: Final = 12 * 3600
DRY_RUN_SECONDS: Final = 15 * 60
"""Time to confirm what a dry run has shown."""
MAX_DRY_RUNS: Final = 100
_TOKEN_BYTES: Final = 32

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """A command that was shown to the operator and may be run. arguments: without the dry run."""

    arguments: tuple[str, ...]
    command: str
    made_at: float


@dataclass(slots=True, kw_only=True)
class OperatorSession:
    """actor: as in the audit log. expires_at: Unix seconds."""

    actor: str
    expires_at: float
    _clock: Clock = field(repr=False)
    _dry_runs: dict[str, DryRun] = field(default_factory=dict[str, DryRun], init=False)

    def keep(self, arguments: tuple[str, ...], command: str) -> str:
        """Keep a command that was shown, and return the id that confirms it."""
        while len(self._dry_runs) >= MAX_DRY_RUNS:
            del self._dry_runs[next(iter(self._dry_runs))]
        confirmation = secrets.token_urlsafe(16)
        self._dry_runs[confirmation] = DryRun(
            arguments=arguments, command=command, made_at=self._clock()
        )
        return confirmation

    def take(self, confirmation: str) -> DryRun | None:
        """Return a command that was shown, once."""
        kept = self._dry_runs.pop(confirmation, None)
        if kept is None or self._clock() - kept.made_at > DRY_RUN_SECONDS:
            return None
        return kept


class OperatorSessions:
    """Opens sessions by links, each of which works once, and finds them by their tokens.

    The browser sends the token in a header of its own. A cookie would be sent to every port of this
    machine, since cookies are shared by all ports of a host.
    """

    def __init__(self, sealer: Sealer, *, clock: Clock = time.time) -> None:
        self._sealer = sealer
        self._clock = clock
        self._started_at = clock()
        self._used: dict[str, float] = {}
        self._by_hash: dict[bytes, OperatorSession] = {}

    def open(self, ticket: str) -> tuple[str, OperatorSession] | None:
        """Return the token of a new session, or None if the ticket opens nothing (any more)."""
        link = read_ticket(self._sealer, ticket)
        if link is None or not self._use(link):
            return None
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        expires_at = self._clock() + SESSION_SECONDS
        session = OperatorSession(actor=link.actor, expires_at=expires_at, _clock=self._clock)
        self._by_hash[_hash(token)] = session
        return token, session

    def find(self, token: str) -> OperatorSession | None:
        """Return the session of a token, or None if it has ended."""
        session = self._by_hash.get(_hash(token))
        if session is not None and session.expires_at <= self._clock():
            self.close(token)
            return None
        return session

    def close(self, token: str) -> None:
        """End a session. Repeating is safe."""
        self._by_hash.pop(_hash(token), None)

    def _use(self, link: Link) -> bool:
        """Return whether a link is used for the first time.

        What was used before this process started is not known, so older links are refused.
        """
        now = self._clock()
        self._used = {key: at for key, at in self._used.items() if now - at <= 2 * LIFE_SECONDS}
        if link.made_at < self._started_at or link.link_id in self._used:
            return False
        self._used[link.link_id] = now
        return True


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
