"""Many slow clients in one process: `python -m tests.api.crowd PORT CLIENTS SECONDS`.

A client whose connection is closed reconnects at once. Prints the number of connections and the
longest connection's seconds as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tests.api.raw import Raw, raw

HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
LONGEST_SECONDS = 20.0
DRIP_SECONDS = 0.5

Manner = Callable[[Raw], Awaitable[None]]


async def _drip(client: Raw) -> None:
    for _ in range(int(LONGEST_SECONDS / DRIP_SECONDS)):
        await client.send(b"a")
        await asyncio.sleep(DRIP_SECONDS)


async def _silent(_client: Raw) -> None:
    await asyncio.sleep(LONGEST_SECONDS)


async def _slow_head(client: Raw) -> None:
    await client.send(HEAD + b"X-A: ")
    await _drip(client)


async def _slow_body(client: Raw) -> None:
    await client.send(b"POST /api/quotes HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n")
    await _drip(client)


async def _no_reader(client: Raw) -> None:
    await client.send(LARGE * 4)
    await asyncio.sleep(LONGEST_SECONDS)


async def _slow_reader(client: Raw) -> None:
    await client.send(LARGE)
    for _ in range(int(LONGEST_SECONDS / DRIP_SECONDS)):
        if not await client.receive(100):
            return
        await asyncio.sleep(DRIP_SECONDS)


MANNERS: tuple[Manner, ...] = (_silent, _slow_head, _slow_body, _no_reader, _slow_reader)


async def _reconnect(port: int, manner: Manner, until: float, lifetimes: list[float]) -> None:
    while time.monotonic() < until:
        with suppress(OSError, TimeoutError):
            async with raw(port, receive_buffer_bytes=2048) as client:
                doing = asyncio.ensure_future(manner(client))
                try:
                    lifetimes.append(await client.ended_after(LONGEST_SECONDS, look_seconds=0.25))
                except TimeoutError:
                    lifetimes.append(LONGEST_SECONDS)
                finally:
                    doing.cancel()
                    await asyncio.gather(doing, return_exceptions=True)


async def main(port: int, clients: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    lifetimes: list[float] = []
    crowd = (
        _reconnect(port, MANNERS[number % len(MANNERS)], until, lifetimes)
        for number in range(clients)
    )
    await asyncio.gather(*crowd)
    print(json.dumps({"connections": len(lifetimes), "longest_seconds": max(lifetimes)}))  # noqa: T201 - its result


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
