"""Loopback ports."""

import socket
from contextlib import ExitStack, suppress
from random import randrange

# Below what systems hand out to outgoing connections (Linux: from 32768), so that none of those
# takes one meanwhile.
FIRST, LAST = 12_000, 32_000


def free_ports(count: int) -> tuple[int, ...]:
    """Ports of 127.0.0.1 that nobody listens on now, at random; all held until the last is found,
    so they differ.
    """
    with ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            one, port = held.enter_context(socket.socket()), randrange(FIRST, LAST)  # noqa: S311 - not a secret
            with suppress(OSError):
                one.bind(("127.0.0.1", port))
                ports.append(port)
        return tuple(ports)


def is_free(port: int) -> bool:
    """True if 127.0.0.1:port can be listened on now. Sockets that only wait for old packets do not
    count.
    """
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
