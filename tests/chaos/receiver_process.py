"""The customer's webhook receiver as a process: `python -m tests.chaos.receiver_process PORT LOG`.

Every webhook is a line of the log, written before the response: `{"t", "id", "held", "body"}`.
Control: `POST /__control/hold/N` leaves the next N without a response until `POST
/__control/release`; `POST /__control/refuse/1` refuses the first attempt of each webhook until
`refuse/0`; `GET /__control`: the held webhooks. A refused one is also logged as held.
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import IO, Any


class Receiver:
    def __init__(self, log: IO[str]) -> None:
        self._log = log
        self._to_hold = 0
        self._held: list[dict[str, Any]] = []
        self._released = asyncio.Event()
        self._refuses_first = False
        self._seen: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                path = head[0].split(" ")[1]
                if path.startswith("/__control"):
                    answer, status = self._control(path.split("/")[2:]), "200 OK"
                else:
                    taken = await self._take(headers, body, writer)
                    answer, status = b"", "204 No Content" if taken else "503 Service Unavailable"
                writer.write(
                    f"HTTP/1.1 {status}\r\ncontent-length: {len(answer)}\r\n\r\n".encode() + answer
                )
                await writer.drain()
        writer.close()

    async def _take(
        self, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Return False if the webhook is refused."""
        held = self._to_hold > 0
        event_id = headers.get("webhook-id", "")
        refused = self._refuses_first and event_id not in self._seen
        self._seen.add(event_id)
        line = {
            "t": time.time(),
            "id": event_id,
            "held": held or refused,
            "body": body.decode(),
        }
        self._log.write(json.dumps(line) + "\n")
        self._log.flush()
        if held:
            self._to_hold -= 1
            peer = writer.get_extra_info("peername")
            self._held.append({"port": peer[1], "execution_id": json.loads(body)["executionId"]})
            await self._released.wait()
        return not refused

    def _control(self, words: list[str]) -> bytes:
        if words[:1] == ["hold"]:
            self._released.clear()
            self._held, self._to_hold = [], int(words[1])
        elif words[:1] == ["refuse"]:
            self._refuses_first = words[1] == "1"
        elif words[:1] == ["release"]:
            self._to_hold = 0
            self._released.set()
        return json.dumps({"held": self._held}).encode()


async def main(port: int, log: Path) -> None:
    with log.open("a", encoding="utf-8") as file:
        server = await asyncio.start_server(Receiver(file).serve, "127.0.0.1", port, backlog=512)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
