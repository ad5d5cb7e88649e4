"""Members of problem documents."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from takeone.models.base import Model


class FieldError(Model):
    """One invalid field of a request. allowed: the choices, where there are some."""

    field: str
    detail: str
    allowed: list[Any] | None = None
    code: str | None = None
    pointer: str | None = None

    @staticmethod
    def read_list(value: object) -> Sequence["FieldError"]:
        """Return the fields that a problem names; none if it names none in a known form."""
        try:
            return _LIST.validate_python(value or [])
        except ValidationError:
            return ()


_LIST = TypeAdapter(list[FieldError])
