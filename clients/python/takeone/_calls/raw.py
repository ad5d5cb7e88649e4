"""Calls of any operation, by method and path."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from takeone._core.calls import Call, QueryValue, Repeat
from takeone.models.base import Model


def request(
    method: str,
    place: str,
    query: Mapping[str, QueryValue] | None,
    body: Mapping[str, Any] | None,
    idempotency_key: str | None,
) -> Call[Model]:
    """Return a call. A POST or PATCH without a key is not repeated after a lost answer."""
    if not place.startswith("/"):
        raise ValueError(f"The path must start with /, for example /api/usage; it is {place!r}.")
    path, _, text = place.partition("?")
    repeat = Repeat.NEVER if method.upper() in ("POST", "PATCH") else Repeat.SAFE
    return Call(
        method.upper(),
        path,
        Model,
        query={**parse_qs(text, keep_blank_values=True), **(query or {})},
        body=body,
        repeat=repeat if idempotency_key is None else Repeat.KEYED,
        idempotency_key=idempotency_key,
    )
