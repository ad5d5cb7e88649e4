"""A proxy in front of the API that loses answers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class LosingProxy:
    """A TCP proxy that closes the connection in the place of an answer.

    path: of the requests whose first answers are lost. left: how many.
    """

    def __init__(self, api_url: str, path: str, lost: int) -> None:
        address = urlsplit(api_url)
        self._host, self._port = address.hostname or "", address.port or 0
        self._start = f"POST {path} ".encode()
        self.left = lost

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[str]:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        api_reader, api_writer = await asyncio.open_connection(self._host, self._port)
        losing = False

        async def ask() -> None:
            """Pass on the requests, whose heads and bodies come separately."""
            nonlocal losing
            while request := await reader.read(65536):
                losing = losing or (self.left > 0 and request.startswith(self._start))
                api_writer.write(request)
            api_writer.close()

        asking = asyncio.create_task(ask())
        try:
            while answer := await api_reader.read(65536):
                if losing:
                    self.left -= 1
                    return
                writer.write(answer)
        finally:
            asking.cancel()
            api_writer.close()
            writer.close()
