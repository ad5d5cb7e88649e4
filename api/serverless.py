"""`app`: the API for platforms that import an application and call it, such as Vercel.

The connections open at the first request and stay open until the platform ends the process. An
execution whose start is lost with the process is started by a worker's reconciler.
"""

import asyncio
from contextlib import AsyncExitStack

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.services import open_services
from core.platform.observability.logging import configure_logging
from core.platform.settings.load import load, secret_values
from core.platform.settings.processes import ApiProcess


class Serverless:
    """The API without a start and an end of its own."""

    def __init__(self, settings: ApiProcess) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._app: FastAPI | None = None
        self._opening = asyncio.Lock()
        self._open = AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            app: ASGIApp = await self._opened()
            await app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """Close the connections at the end that few platforms announce."""
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._open.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    async def _opened(self) -> FastAPI:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Connections belong to their event loop. Those of an ended loop are of no use.
            self._loop, self._app = loop, None
            self._opening, self._open = asyncio.Lock(), AsyncExitStack()
        async with self._opening:
            if self._app is None:
                services = await self._open.enter_async_context(open_services(self._settings))
                self._app = create_app(
                    services,
                    cors_origins=self._settings.cors_origins,
                    console=self._settings.console,
                )
            return self._app


def _serverless() -> Serverless:
    settings = load(ApiProcess)
    configure_logging(settings.log_level, settings.log_format, secrets=secret_values(settings))
    return Serverless(settings)


app = _serverless()
