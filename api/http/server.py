"""The HTTP server: uvicorn, its limits, and a graceful end.

Production runs behind the proxy in `deploy/proxy/`, which ends TLS and slow connections.
"""

import resource
import socket
from collections.abc import Callable
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.events.stream import ABORT
from core.platform.observability.logging import get_logger

DRAIN_SECONDS: Final = 20
"""Time for requests in progress after SIGTERM. The longest waits 5 s for a cancel to take effect,
plus its database and Temporal calls.
"""
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than a proxy keeps an idle connection (60 s is usual), so that the proxy never sends a
request into a connection that the API is closing.
"""
BACKLOG: Final = 2048
RESERVED_FILES: Final = 256
"""Open files in addition to client connections: database, storage, Temporal."""

log = get_logger(__name__)


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with 501 for a body in a transfer coding that it cannot read.

    The scope has an extension that closes the connection at once, for clients that read nothing.
    """

    def on_headers_complete(self) -> None:
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings in ([], [b"chunked"]):
            super().send_400_response(msg)
            return
        self.transport.write(
            b"HTTP/1.1 501 Not Implemented\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        )
        self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, which ends what would not end by itself when it stops."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    max_connections: int,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in progress.

    Requests beyond `max_connections` are answered with 503. on_stop: ends the event streams.
    """
    raise_open_file_limit(max_connections + RESERVED_FILES)
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing depends on the client's address
        limit_concurrency=max_connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    await Server(config, on_stop).serve(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raise OSError."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address, family=family, backlog=BACKLOG)


def raise_open_file_limit(files: int) -> None:
    """Raise the soft limit of open files to `files`, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return
    raised = files if hard == resource.RLIM_INFINITY else min(files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    if raised < files:
        log.warning("server.open_file_limit_low", open_files=raised, needed=files)
