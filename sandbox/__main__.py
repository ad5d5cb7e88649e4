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
        listener = _listener(options.host, options.port, "--port or SANDBOX_PORT")
        control = _listener(
            options.control_host, options.control_port, "--control-port or SANDBOX_CONTROL_PORT"
        )
    except ListenError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    try:
        app = build(options, control_port=control.getsockname()[1])
    except OSError as error:
        sys.stderr.write(f"sandbox: can't use the data folder {options.data_dir}: {error}\n")
        return 1
    start = _address(options, options.host, listener)
    public = f", public {options.public_url}" if options.public_url else ""
    sys.stdout.write(
        f"sandbox: fal {start}/fal/queue (api {start}/fal/api/v1), Replicate {start}/replicate, "
        f"ElevenLabs {start}/elevenlabs, "
        f"control {_address(options, options.control_host, control)}/__control, data in {options.data_dir}{public}\n"
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
    uvicorn.Server(config).run(sockets=[listener, control])
    return 0


def _ignore(number: int, frame: FrameType | None) -> None:
    """Ignore the signal."""


class ListenError(Exception):
    """A port cannot be opened. The message is one line."""


def _listener(host: str, port: int, option: str) -> socket.socket:
    """Return a bound socket. Raise ListenError.

    It is bound before the start line is printed, so that port 0 has its number by then.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        busy = error.errno == errno.EADDRINUSE
        reason = f"the port is in use; choose another with {option}" if busy else error.strerror
        raise ListenError(f"can't listen on {host}:{port}: {reason}") from None
    return listener


def _address(options: Options, host: str, listener: socket.socket) -> str:
    scheme = "https" if options.tls_cert else "http"
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


if __name__ == "__main__":
    sys.exit(main())
