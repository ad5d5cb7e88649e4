"""Free ports for a whole stack."""

from dataclasses import fields

from deploy.local.config import Ports
from deploy.local.ports import free_ports, is_free
from deploy.local.servers.s3 import PORTS as S3_PORTS

TRIES = 100


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
