"""Errors of a filled plan, reported at the values that the caller can change."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from pydantic import ValidationError

from api.http.problems.documents import validation_problem
from api.http.problems.ordering import public_path
from api.orders.variables.substitution import FilledPlan
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError, MediaRefusedError

T = TypeVar("T")
PLAN = "plan/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorNames:
    """Names the field of each error of a filled plan.

    places: the field of each variable's value. If the plan is not a part of the request, together:
    the field for errors of a text with several values; elsewhere: for errors that no value causes.
    """

    filled: FilledPlan
    places: Mapping[str, str]
    together: str | None = None
    elsewhere: str | None = None

    def error(self, error: FieldError) -> FieldError:
        """Return the error with the field that the caller can change."""
        path = public_path(error.field)
        if not path.startswith(PLAN):
            return error
        names = self.filled.used_at(path)
        if len(names) == 1:
            detail = f"{error.detail} (used at {path})"
            return replace(error, field=self.places[names[0]], detail=detail)
        if names and self.together is not None:
            detail = f"{error.detail} (of {', '.join(names)}, used at {path})"
            return replace(error, field=self.together, detail=detail)
        if not names and self.elsewhere is not None:
            return replace(error, field=self.elsewhere, detail=f"{path}: {error.detail}")
        return error

    @contextmanager
    def named(self) -> Generator[None]:
        """Name the fields of the errors that the body of `with` raises."""
        try:
            yield
        except InvalidFieldsError as error:
            raise InvalidFieldsError(*map(self.error, error.errors)) from None
        except MediaRefusedError as error:
            if error.field is None:
                raise
            moved = self.error(FieldError(field=error.field, detail=error.detail))
            raise type(error)(moved.detail, field=moved.field) from error

    def read(self, read: Callable[[], T], body: object) -> T:
        """Read the filled plan, and raise all its errors together with those of its values.

        body: what is read, for the paths of its fields.
        """
        try:
            made = read()
        except ValidationError as error:
            faults = self._all_faults(_field_errors(error, body))
            if not faults:
                raise
            raise InvalidFieldsError(*faults) from None
        if self.filled.faults:
            raise InvalidFieldsError(*self._faults())
        return made

    def _all_faults(self, errors: Iterator[FieldError]) -> list[FieldError]:
        """Return the faults of values, then other errors of fields that have usable values."""
        known = {fault.field for fault in self.filled.faults}
        others = [
            error
            for error in errors
            if error.field not in known and not self.filled.is_broken(error.field)
        ]
        return [*self._faults(), *map(self.error, others)]

    def _faults(self) -> Sequence[FieldError]:
        """Return the faults of the values, which name their own fields in the request."""
        faults = self.filled.faults
        return faults if self.elsewhere is None else [self.error(each) for each in faults]


def _field_errors(error: ValidationError, body: object) -> Iterator[FieldError]:
    problem = validation_problem(error.errors(), body)
    for item in cast("Sequence[Mapping[str, Any]]", problem.members["errors"]):
        yield FieldError(
            field=item["field"],
            detail=item["detail"],
            allowed=item.get("allowed"),
            code=item.get("code", FaultCode.INVALID),
        )
