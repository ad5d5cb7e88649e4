"""Shared parts of operator commands: their error, and rows as JSON."""

from collections.abc import Mapping
from typing import Any, Final

from core.domain.money import usd_text

_MONEY: Final = "nano_usd"


class RefusedError(Exception):
    """The command does not apply to the current state, and nothing was changed.

    The text is one line for the operator.
    """


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def row_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON: camelCase names, and money as decimal dollars."""
    plain: dict[str, Any] = {}
    for name, value in row.items():
        if name == _MONEY or name.endswith(f"_{_MONEY}"):
            plain[camel(name.removesuffix(_MONEY) + "usd")] = (
                None if value is None else usd_text(value)
            )
        else:
            plain[camel(name)] = value
    return plain
