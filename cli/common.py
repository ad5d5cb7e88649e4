"""What the admin commands share: how they are called, who calls them, and how they refuse."""

import argparse
import getpass
import os
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from core.domain.money import NANO_PER_USD, NanoUsd
from core.platform.crypto.sealing import Sealer
from core.store.database import Connection, Database

Arguments = argparse.Namespace
Command = Callable[[Connection, Sealer, Arguments], Awaitable[object]]
"""In one transaction; what it returns is printed as JSON, if it is not Told. Raises LookupError
(exit 1) or RefusedError (exit 2).
"""
DatabaseCommand = Callable[[Database, Sealer, Arguments], Awaitable[object]]
"""The same for what takes many transactions (set_defaults(on_database=...))."""

MAX_TEXT = 500
_USD = re.compile(r"([0-9]{1,9})(?:\.([0-9]+))?", re.ASCII)
_NANO_DIGITS: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a command says in words of its own instead of JSON, with its exit code."""

    code: int
    text: str


def default_actor() -> str:
    """Who runs this, as the machine knows it: the person behind sudo, or the user of the process,
    and the host.
    """
    name = os.environ.get("SUDO_USER")
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a container's user id without a name
            name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def add_actor(parser: argparse.ArgumentParser) -> None:
    """For commands that change something."""
    parser.add_argument(
        "--actor",
        metavar="NAME",
        type=plain_text,
        help="who does this, for the audit log; default: user@host",
    )


def plain_text(text: str) -> str:
    if not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
        raise argparse.ArgumentTypeError(f"give 1 to {MAX_TEXT} printable characters")
    return text


def whole_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:8]) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 1000000")
    return int(text)


def exact_usd(text: str) -> NanoUsd:
    """A written amount of at least 0, to the nano-dollar, never through a float."""
    match = _USD.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of US dollars like 0.3")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > _NANO_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is finer than a nano-dollar")
    return NanoUsd(int(whole) * NANO_PER_USD + int(fraction.ljust(_NANO_DIGITS, "0")))
