"""Values of request bodies: names in camelCase, exact money, and files as references."""

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol, cast, runtime_checkable

from takeone._core.calls import QueryValue
from takeone.models.assets import Asset
from takeone.models.executions import ResultFile

Media = str | Asset | ResultFile | Mapping[str, object]
"""A file: an address, an asset, or `{"asset": id}` or `{"url": address}`."""
Metadata = Mapping[str, str | int | float | bool]
Amount = Decimal | str | int | float
"""US dollars."""

MEDIA_NAMES: Final = frozenset(("image", "endImage", "audio", "source", "video"))
"""Parameters that take a file, where a text is an address."""


@runtime_checkable
class HasPlan(Protocol):
    """What can be written as a plan, such as a composition."""

    def to_plan(self) -> Mapping[str, Any]:
        """Return the plan as JSON."""
        ...


def camel(name: str) -> str:
    """Return a name in camelCase; a name that has it already stays."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name.rstrip("_"))


def media(value: Media) -> Mapping[str, object]:
    """Return a reference to a file."""
    if isinstance(value, str):
        return {"url": value}
    if isinstance(value, Asset | ResultFile):
        return {"asset": value.id}
    return value


def amount(value: Amount) -> str:
    """Return US dollars as the exact decimal text that the API takes."""
    return format(Decimal(str(value)), "f")


def spend_limit(limit: Mapping[str, Amount | None]) -> dict[str, str]:
    """Return a spend limit as the API takes it, without what has no limit."""
    return {name: amount(value) for name, value in limit.items() if value is not None}


def body(values: Mapping[str, object]) -> dict[str, Any]:
    """Return a request body: without None, with the names and values of the API."""
    made: dict[str, Any] = {}
    for name, value in values.items():
        public = camel(name)
        if value is None:
            continue
        if public == "maxCost":
            made[public] = amount(cast("Amount", value))
        elif public == "spendLimit":
            made[public] = spend_limit(cast("Mapping[str, Amount | None]", value))
        elif public in MEDIA_NAMES:
            made[public] = media(cast("Media", value))
        else:
            made[public] = value
    return made


def plain_time(value: datetime) -> str:
    """Return a time as the API takes it. A time without a zone is an error."""
    if value.tzinfo is None:
        raise ValueError(f"{value} has no time zone; give it one, for example timezone.utc")
    return value.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def query(values: Mapping[str, object]) -> dict[str, QueryValue]:
    """Return query parameters: without None, times in ISO 8601."""
    return {
        camel(name): plain_time(value) if isinstance(value, datetime) else cast("QueryValue", value)
        for name, value in values.items()
        if value is not None
    }


def upload(file: str | Path | bytes) -> Path | bytes:
    """Return a file to upload: its content, or where it is."""
    return Path(file) if isinstance(file, str) else file
