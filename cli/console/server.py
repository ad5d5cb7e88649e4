"""The process of the operator's console: its listener on loopback, until SIGTERM or SIGINT."""

import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final

import uvicorn

from cli.console.application import OperatorConsole
from cli.console.links import new_link
from cli.console.sessions import OperatorSessions
from cli.session import FailedError, Session
from core.platform.observability.logging import get_logger
from core.platform.settings.processes import AdminProcess, OperatorConsoleProcess
from core.store.database import Database
from core.store.operator import RefusedError

CONNECTIONS: Final = 4
"""Of the database: an operator's page sends a few requests at once."""
DRAIN_SECONDS: Final = 10

log = get_logger(__name__)


class SharedSession(Session):
    """The session of commands that run in one process with one connection pool."""

    def __init__(self, load_settings: Callable[[], AdminProcess], database: Database) -> None:
        super().__init__(load_settings)
        self._database = database

    @asynccontextmanager
    async def database(self) -> AsyncGenerator[Database]:
        yield self._database


async def run_console(settings: OperatorConsoleProcess, host: str, port: int, actor: str) -> None:
    """Print a link for the operator, and serve until a signal ends it.

    Raise RefusedError for a host that is not loopback, FailedError if the port is in use.
    """
    with listen(host, port) as listener:
        url = settings.database_url.get_secret_value()
        async with Database.open(url, max_connections=CONNECTIONS, generic_plans=False) as database:
            session = SharedSession(lambda: settings, database)
            console = OperatorConsole(
                session,
                OperatorSessions(session.sealer),
                workflows_url=settings.temporal_workflows_url,
            )
            origin = origin_of(listener)
            sys.stdout.write(f"{new_link(session.sealer, origin, actor)}\n")
            sys.stdout.flush()
            log.info("server.listening", address=origin)
            await make_server(console).serve(sockets=[listener])


def make_server(console: OperatorConsole) -> uvicorn.Server:
    """Return a server, which ends at SIGTERM or SIGINT and finishes the requests in progress."""
    config = uvicorn.Config(
        console.app(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket on a loopback address.

    Raise RefusedError for another address, FailedError if the port cannot be opened.
    """
    try:
        is_loopback = ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise RefusedError(
            f"{host} is not a loopback address. The console has no login for other machines: use"
            " 127.0.0.1 and an SSH tunnel (ssh -L)"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno is not None else str(error)
        raise FailedError(f"cannot listen on {host}:{port}: {reason}") from None


def origin_of(listener: socket.socket) -> str:
    """Return the address of the console in a browser."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
