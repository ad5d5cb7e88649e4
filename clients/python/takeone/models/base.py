"""The base of all results."""

from decimal import Decimal
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

Money = Decimal
"""US dollars, exact."""

T = TypeVar("T")


class Model(BaseModel):
    """A part of an answer.

    Members that this version of the client does not have are kept in `model_extra`.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True
    )


class Page(Model, Generic[T]):
    """A page of a list. next_cursor: of the next page; None on the last page."""

    data: list[T]
    next_cursor: str | None = None
