"""Calls as data: what is sent, how the answer is read, and whether it may be sent again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from httpx import Headers
from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel | None, covariant=True)

QueryValue = str | int | Sequence[str]
REPLAYED_HEADER = "idempotent-replayed"


class Repeat(Enum):
    """Whether a call whose answer was lost may be sent again.

    KEYED: yes, with the same idempotency key. SAFE: yes, its effect is the same. NEVER: no, it
    would have its effect twice; only a call that was certainly not processed is sent again.
    """

    KEYED = "keyed"
    SAFE = "safe"
    NEVER = "never"


@dataclass(frozen=True)
class Answer:
    """An answer of the service."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call of an operation.

    result: the type of the answer; None for an answer without a body. upload: a file that is sent
    as multipart/form-data.
    """

    method: str
    path: str
    result: type[T] | None = None
    query: Mapping[str, QueryValue] = field(default_factory=dict[str, QueryValue])
    body: Mapping[str, Any] | None = None
    upload: bytes | Path | None = None
    repeat: Repeat = Repeat.SAFE
    idempotency_key: str | None = None

    def after(self, cursor: str) -> "Call[T]":
        """Return the call for the next page."""
        return replace(self, query={**self.query, "cursor": cursor})


def path(template: str, *values: str) -> str:
    """Return a path with these values, encoded, for its `{}`."""
    return template.format(*(quote(value, safe="") for value in values))
