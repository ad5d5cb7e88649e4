"""Streams of events: how they are opened, where they continue, and how long they may fail."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from takeone._core.answers import headers, problem
from takeone._core.calls import Answer
from takeone._core.settings import LONGEST_RETRY_AFTER_SECONDS, Settings
from takeone._core.sse import EventParser, ServerEvent
from takeone.errors import CallError, ProblemError, UnusableAnswerError

STREAM_TYPE: Final = "text/event-stream"
NO_CONTENT: Final = 204
LOST_SECONDS: Final = 45.0
"""Without a byte for so long, a stream is lost: the service sends a heartbeat every 15 s."""
FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0
GROWTH: Final = 1.6
PATIENCE_SECONDS: Final = 300.0
"""How long the service may be unreachable before its failure is raised."""


class Patience:
    """How long failures are tolerated. All times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        self._reached_at = now

    def reached(self, now: float) -> None:
        """Note that the service has answered."""
        self._reached_at = now

    def missed(self, error: CallError, now: float) -> float:
        """Take a failure. Return how many seconds the service wants until the next request.

        Raise the failure if waiting cannot help, or has not helped for five minutes.
        """
        refusal = error if isinstance(error, ProblemError) else None
        final = refusal is not None and refusal.status < 500 and not refusal.retryable
        if final or now - self._reached_at > PATIENCE_SECONDS:
            raise error
        requested = refusal.retry_after if refusal is not None else None
        return min(requested or 0.0, LONGEST_RETRY_AFTER_SECONDS)


class Following:
    """One stream after another, each of which continues where the last one has ended.

    after: the sequence of the last event that is known; None: from the present on. over: the
    service has nothing more to send.
    """

    def __init__(
        self, path: str, settings: Settings, after: int | None = None, *, resumes: bool = True
    ) -> None:
        self._url = f"{settings.base_url}{path}"
        self._settings = settings
        self._resumes = resumes
        self._last_id = None if after is None else str(after)
        self._parser: EventParser | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self.over = False

    def request(self) -> Mapping[str, Any]:
        """Return the arguments of `httpx.Client.stream`."""
        sent = headers(self._settings, STREAM_TYPE) | {"accept-encoding": "identity"}
        if self._last_id is not None:
            sent["last-event-id"] = self._last_id
        patient = self._settings.timeout.as_dict() | {"read": LOST_SECONDS}
        timeout = httpx.Timeout(**patient)
        return {"method": "GET", "url": self._url, "headers": sent, "timeout": timeout}

    def opened(self, answer: Answer) -> None:
        """Take the head of an answer. Raise CallError if it is not a stream."""
        if answer.status >= 400:
            raise problem(answer)
        self.over = answer.status == NO_CONTENT
        if not self.over and not answer.headers.get("content-type", "").startswith(STREAM_TYPE):
            raise UnusableAnswerError(
                f"{self._url} was answered with status {answer.status} and no stream of events"
            )
        self._parser = EventParser(self._last_id)

    def received(self, part: bytes) -> Sequence[ServerEvent]:
        """Take the next bytes. Return the events that they complete; none for a heartbeat."""
        assert self._parser is not None  # noqa: S101 - `opened` was called
        events = self._parser.feed(part)
        self._pause = FIRST_PAUSE_SECONDS
        if self._resumes:
            self._last_id = self._parser.last_id
        return events

    def pause(self) -> float:
        """Return how many seconds to wait before the next stream is opened."""
        least = (self._parser.retry if self._parser is not None else None) or 0.0
        pause, self._pause = self._pause, min(LONGEST_PAUSE_SECONDS, self._pause * GROWTH)
        return max(pause, least)
