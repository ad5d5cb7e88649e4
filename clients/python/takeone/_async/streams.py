"""Streams of events: read, and opened again when they are lost."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import httpx

from takeone._async import _io
from takeone._async.sender import Sender
from takeone._core.answers import transport_error
from takeone._core.calls import Answer
from takeone._core.sse import ServerEvent
from takeone._core.streams import Following, Patience
from takeone.errors import CallError


async def parts(sender: Sender, following: Following) -> AsyncGenerator[Sequence[ServerEvent]]:
    """Yield the events of each part of one stream; none for a heartbeat. End with the stream.

    Raise CallError if it is refused or lost.
    """
    try:
        async with sender.http.stream(**following.request()) as response:
            body = b"" if response.is_success else await response.aread()
            following.opened(Answer(response.status_code, response.headers, body))
            async for part in response.aiter_bytes():
                yield following.received(part)
    except httpx.HTTPError as error:
        raise transport_error(error) from error


async def follow(
    sender: Sender, following: Following, until: str | None = None
) -> AsyncIterator[ServerEvent | None]:
    """Yield the events of one stream after another; None when one begins.

    until: the type of an event that is the last one, unless others follow on the same stream.
    Raise CallError if the service refuses, or is unreachable for five minutes.
    """
    patience = Patience(time.monotonic())
    latest: str | None = None
    while True:
        requested = 0.0
        try:
            async with aclosing(parts(sender, following)) as stream:
                begun = False
                async for events in stream:
                    patience.reached(time.monotonic())
                    if not begun:
                        begun = True
                        yield None
                    for event in events:
                        latest = event.type
                        yield event
        except CallError as error:
            requested = patience.missed(error, time.monotonic())
        if following.over or (latest is not None and latest == until):
            return
        await _io.sleep(max(following.pause(), requested))
