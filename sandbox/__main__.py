"""`python -m sandbox`: serve until SIGTERM or Ctrl-C."""

import errno
import signal
import socket
import sys
from types import FrameType

import uvicorn

from sandbox.app import build
from sandbox.settings import Options, options_from


def main() -> int:
    options = options_from(sys.argv[1:])
    try:
        listener = _listener(options)
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE
        reason = (
            "the port is in use; choose another with --port or SANDBOX_PORT"
            if busy
            else str(error.strerror)
        )
        sys.stderr.write(f"sandbox: can't listen on {options.host}:{options.port}: {reason}\n")
        return 1
    try:
        app = build(options)
    except OSError as error:
        sys.stderr.write(f"sandbox: can't use the data folder {options.data_dir}: {error}\n")
        return 1
    start = _address(options, listener)
    public = f", public {options.public_url}" if options.public_url else ""
    sys.stdout.write(
        f"sandbox: fal {start}/fal/queue (api {start}/fal/api/v1), Replicate {start}/replicate, "
        f"control {start}/__control, data in {options.data_dir}{public}\n"
    )
    sys.stdout.flush()
    for number in (signal.SIGTERM, signal.SIGINT):
        # The server stops on these signals and then raises them again, after its shutdown.
        signal.signal(number, _ignore)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, proxy_headers=False, lifespan="on", timeout_graceful_shutdown=1,
        ssl_certfile=options.tls_cert, ssl_keyfile=options.tls_key, ws="none",
        date_header=False,  # the application adds it
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])
    return 0


def _ignore(number: int, frame: FrameType | None) -> None:
    """Ignore the signal."""


def _listener(options: Options) -> socket.socket:
    """Return a bound socket.

    It is bound before the start line is printed, so that port 0 has its number by then.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        options.host, options.port, type=socket.SOCK_STREAM
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(2048)
    return listener


def _address(options: Options, listener: socket.socket) -> str:
    scheme = "https" if options.tls_cert else "http"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
