"""Values of options: files, names with values, times and JSON documents."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from takeone.cli._core import output
from takeone.cli._core.exits import Exit, StopError

if TYPE_CHECKING:
    from takeone import Takeone

AMOUNT: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?|\.[0-9]{1,9}")
UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def media(client: "Takeone", value: str) -> Mapping[str, object]:
    """Return a file of an order: an asset's id, an address, or a local file, which is uploaded."""
    if re.fullmatch(r"asset_\w+", value):
        return {"asset": value}
    if value.startswith(("http://", "https://")):
        return {"url": value}
    if not Path(value).is_file():
        raise StopError(
            Exit.USAGE,
            f"{value!r} is not a file. Allowed: a local file, an address, or the id of an asset.",
        )
    asset = client.assets.upload(value)
    output.note(f"Uploaded {value} as {asset.id}")
    return {"asset": asset.id}


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return the values of an option `name=value` that may be repeated."""
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise StopError(Exit.USAGE, f"{option} must be name=value; it is {text!r}.")
        values[name] = value
    return values


def amount(text: str, name: str) -> Decimal:
    """Return US dollars, or stop with what is allowed."""
    plain = text.strip().removeprefix("$")
    if not AMOUNT.fullmatch(plain):
        raise StopError(Exit.USAGE, f"{name} must be US dollars, for example 0.50; it is {text!r}.")
    return Decimal(plain)


def moment(text: str) -> datetime:
    """Return a time: an age such as 30m, 24h or 7d, or a date or time in ISO 8601 (UTC)."""
    age = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    if age:
        return datetime.now(timezone.utc) - timedelta(**{UNITS[age[2]]: int(age[1])})
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError) as error:
        raise StopError(
            Exit.USAGE,
            f"{text!r} is not a time. Allowed: an age such as 30m, 24h or 7d, a date such as "
            "2026-11-30, or a time in ISO 8601.",
        ) from error


def content(place: str) -> str:
    """Return the text of a file; `-` is standard input."""
    try:
        return sys.stdin.read() if place == "-" else Path(place).read_text(encoding="utf-8")
    except UnicodeError as error:
        raise StopError(Exit.USAGE, f"{place} is not text in UTF-8.") from error


def json_object(text: str, name: str) -> dict[str, Any]:
    """Return a JSON object, or stop with the place of the error."""
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise StopError(Exit.USAGE, f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise StopError(Exit.USAGE, f"{name} must have one JSON object.")
    return cast("dict[str, Any]", value)
