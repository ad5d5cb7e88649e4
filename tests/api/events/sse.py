"""A client of event streams that shows each frame as it arrives."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

STREAM_TIMEOUT = httpx.Timeout(30, read=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. id: None without one."""

    name: str
    id: int | None
    data: dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Client:
    """An open stream. retry: the last value received. heartbeats: the number of comments."""

    response: httpx.Response
    lines: AsyncGenerator[str]
    retry: int | None = None
    heartbeats: int = 0
    last_id: int | None = None
    seen: list[Event] = field(default_factory=list[Event])

    async def next(self) -> Event | None:
        """Return the next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        async for line in self.lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.heartbeats += 1
            elif name == "retry":
                self.retry = int(value)
            elif line:
                fields[name] = value
            elif "event" in fields:
                number = int(fields["id"]) if "id" in fields else None
                self.last_id = number if number is not None else self.last_id
                event = Event(name=fields["event"], id=number, data=json.loads(fields["data"]))
                self.seen.append(event)
                return event
        return None

    async def until(self, name: str, **data: object) -> Event:
        """Return the next event of this name with this data."""
        while (event := await self.next()) is not None:
            if event.name == name and data.items() <= event.data.items():
                return event
        raise EOFError(f"no {name} {data} before the end; {[each.name for each in self.seen]}")

    async def rest(self) -> list[Event]:
        """Return all events until the end."""
        events: list[Event] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def opened(
    http: httpx.AsyncClient, path: str, *, after: int | None = None, **parameters: str
) -> AsyncGenerator[Client]:
    """Open a stream that must be answered with one. after: sent as Last-Event-ID."""
    headers = {"Last-Event-ID": str(after)} if after is not None else {}
    async with http.stream(
        "GET", path, headers=headers, params=parameters or None, timeout=STREAM_TIMEOUT
    ) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = response.aiter_lines()
        yield Client(response=response, lines=lines)  # type: ignore[arg-type]
