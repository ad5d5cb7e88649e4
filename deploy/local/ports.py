"""Free loopback ports."""

import socket
from contextlib import ExitStack, suppress
from random import randrange

# Below the range for outgoing connections (Linux: from 32768), so that none of them takes a port
# meanwhile.
FIRST, LAST = 12_000, 32_000


def free_ports(count: int) -> tuple[int, ...]:
    """Return random free ports of 127.0.0.1.

    All are held until the last one is bound, so that they differ.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            listener, port = held.enter_context(socket.socket()), randrange(FIRST, LAST)  # noqa: S311 - not a secret
            with suppress(OSError):
                listener.bind(("127.0.0.1", port))
                ports.append(port)
        return tuple(ports)


def is_free(port: int) -> bool:
    """Return whether 127.0.0.1:port can be listened on.

    Sockets in TIME_WAIT do not count.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
