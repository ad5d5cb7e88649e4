"""The HTTP server: uvicorn, with our own connections."""

import asyncio
import resource
import socket
from typing import Final

import uvicorn

from api.http.connections import KEEP_ALIVE_SECONDS, Connections, GuardedProtocol
from core.platform.observability.access_log import App
from core.platform.observability.logging import get_logger

DRAIN_SECONDS: Final = 20
"""For requests that have begun: the longest waits 5 s for a cancel, with its database and Temporal
calls around it.
"""
BACKLOG: Final = 2048
KERNEL_SECONDS: Final = 10.0
"""In which a client takes what the kernel has for it, also once we have closed. Later than
CLIENT_SECONDS, which tells whom it cuts off.
"""
RESERVED_FILES: Final = 256
"""Open files beside the connections: database, storage, Temporal, the log."""

log = get_logger(__name__)


async def serve(app: App, listener: socket.socket, most_connections: int) -> None:
    """Until SIGTERM or SIGINT; then finish what has begun."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=GuardedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here depends on who calls
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    server.server_state = connections = Connections(_room_for(most_connections))
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(connections.watch())
        await server.serve(sockets=[listener])
        watching.cancel()


def listen(host: str, port: int) -> socket.socket:
    """Raises OSError. What a client that has gone leaves in the kernel, goes too, where the kernel
    can be told.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.create_server(address, family=family, backlog=BACKLOG)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(KERNEL_SECONDS * 1000))
    return listener


def _room_for(most: int) -> int:
    """As many of them as this process may have files open; the limit is raised as far as it
    may be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            log.warning(
                "fewer connections than set: this process may not open more files", files=soft
            )
            return max(soft - RESERVED_FILES, soft // 2)
    return most
