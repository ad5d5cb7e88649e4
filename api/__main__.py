"""`python -m api`: serve the HTTP API until SIGTERM or SIGINT, then finish open requests."""

import argparse
import asyncio
import signal
import socket
import sys
from contextlib import AsyncExitStack
from types import FrameType

import uvloop

from api.app import create_app
from api.http.server import listen, serve
from api.services import open_services
from core.jobs.initial_series import start_at_zero
from core.platform.observability import tracing
from core.platform.observability.logging import configure_logging, get_logger
from core.platform.observability.metrics_server import MetricsPortError, start_metrics_server
from core.platform.settings.base import SettingError
from core.platform.settings.load import describe_settings, load, secret_values
from core.platform.settings.processes import ApiProcess
from core.platform.temporal.client import TemporalConnectError
from core.store.login import LoginRefusedError, UnsafeLoginError

log = get_logger(__name__)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m api",
        description=__doc__,
        epilog=describe_settings(ApiProcess),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    settings = load(ApiProcess)
    configure_logging(settings.log_level, settings.log_format, secrets=secret_values(settings))
    try:
        tracing.configure(settings, service="takeone-api")
        listener = _listen(settings.api_host, settings.api_port)
        metrics = start_metrics_server(settings.metrics_host, settings.metrics_port)
    except (PortError, MetricsPortError, SettingError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_serve(settings, listener))
    tracing.stop()
    if metrics is not None:
        metrics.stop()
    return code


class PortError(Exception):
    """The API's port cannot be opened. The message is one line for the operator."""


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raise PortError."""
    try:
        return listen(host, port)
    except OSError as error:
        raise PortError(
            f"API_HOST, API_PORT: cannot listen on {host}:{port}: {error.strerror}"
        ) from None


async def _serve(settings: ApiProcess, listener: socket.socket) -> int:
    async with AsyncExitStack() as stack:
        try:
            services = await stack.enter_async_context(open_services(settings))
        except (TemporalConnectError, ValueError) as error:  # a setting is invalid where it is used
            sys.stderr.write(f"{error}\n")
            return 2
        start_at_zero(services.providers)
        try:
            await services.database.refuse_unsafe_login()
        except (UnsafeLoginError, LoginRefusedError) as error:
            sys.stderr.write(f"DATABASE_URL: {error}\n")
            return 2
        # uvicorn handles both signals while it serves and raises them again at its end, when they
        # must have no effect.
        signal.signal(signal.SIGTERM, _ignore)
        signal.signal(signal.SIGINT, _ignore)
        log.info(
            "server.listening", address=f"http://{settings.api_host}:{listener.getsockname()[1]}"
        )
        app = create_app(services, cors_origins=settings.cors_origins, console=settings.console)
        await serve(app, listener, settings.api_max_connections, services.streams.close)
    return 0


def _ignore(_signal: int, _frame: FrameType | None) -> None: ...


if __name__ == "__main__":
    sys.exit(main())
