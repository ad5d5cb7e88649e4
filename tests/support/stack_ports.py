"""Free ports for a whole stack."""

from dataclasses import fields

from deploy.local.config import Config, Ports
from deploy.local.ports import free_ports, is_free
from deploy.local.servers.s3 import PORTS as S3_PORTS

TRIES = 100
RECEIVERS = 4
"""Webhook receivers that one test may have open at once."""


def free_receivers() -> tuple[str, ...]:
    """Return the webhook receivers of a stack, on free ports of this machine."""
    return tuple(f"127.0.0.1:{port}" for port in free_ports(RECEIVERS))


def receiver_port(config: Config) -> int:
    """Return a port on which the stack's webhooks reach a receiver and none listens yet."""
    ports = (int(receiver.rpartition(":")[2]) for receiver in config.receivers)
    return next(port for port in ports if is_free(port))


def free_stack_ports() -> Ports:
    """Return distinct free ports; the S3 port starts a free range of the size that S3 needs.

    Raise RuntimeError if no such ports are free.
    """
    names = [field.name for field in fields(Ports) if field.name != "s3"]
    chosen = dict(zip(names, free_ports(len(names)), strict=True))
    taken = set(chosen.values())
    for (first,) in (free_ports(1) for _ in range(TRIES)):
        row = range(first, first + S3_PORTS)
        if not taken & set(row) and all(is_free(port) for port in row):
            return Ports(**chosen, s3=first)
    raise RuntimeError(f"no {S3_PORTS} free ports in a row")
