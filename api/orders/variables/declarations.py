"""Declarations of a plan's variables: their types, limits and defaults."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError

from api.executions.media import MediaInput
from api.http.ids import ASSET_ID
from api.http.schemas import RequestBody
from core.domain.plans import Scalar
from core.ordering.errors import FaultCode
from core.platform.urls import MAX_URL_CHARS, webhook_url

MAX_VARIABLES: Final = 50
MAX_CHOICES: Final = 20
MAX_TEXT: Final = 20_000
MAX_NUMBER: Final = 2**53
"""Above it, JavaScript and jsonb read different numbers."""
VARIABLE: Final = r"[a-z][A-Za-z0-9]{0,39}"
VariableName = Annotated[str, Field(pattern=f"^{VARIABLE}$")]

Text = Annotated[str, Field(max_length=MAX_TEXT)]
Length = Annotated[int, Field(ge=0, le=MAX_TEXT)]
Number = Annotated[float, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Integer = Annotated[int, Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]
_DEFAULT: Final = "Used where a request gives no value. Without it, a value is required."
_CHOICES: Final = "The only values that are allowed, instead of other limits."


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFault:
    """Why a value is not one of its variable."""

    detail: str
    code: FaultCode = FaultCode.INVALID
    allowed: Sequence[object] | None = None


class _Declared(RequestBody):
    description: Annotated[str, Field(max_length=500)] | None = Field(
        None, description="For the people who give values."
    )


class TextVariable(_Declared):
    """A text, for example a prompt, or a word in a prompt."""

    type: Literal["text"]
    default: Text | None = Field(None, description=_DEFAULT)
    min_length: Length | None = Field(None, description="In characters. Default: 1.")
    max_length: Length | None = Field(None, description="In characters.")
    choices: Annotated[list[Text], Field(min_length=1, max_length=MAX_CHOICES)] | None = Field(
        None, description=_CHOICES
    )

    @property
    def least(self) -> int:
        """Return the smallest number of characters."""
        return 1 if self.min_length is None else self.min_length

    def value_fault(self, value: object) -> ValueFault | None:
        if not isinstance(value, str):
            return ValueFault(detail="must be text")
        if self.choices is not None:
            return _not_chosen(value, self.choices)
        if len(value) < self.least:
            return ValueFault(
                detail=f"has {len(value)} characters; at least {self.least} are required",
                code=FaultCode.OUT_OF_RANGE,
            )
        longest = MAX_TEXT if self.max_length is None else self.max_length
        if len(value) > longest:
            return ValueFault(
                detail=f"has {len(value)} characters; at most {longest} are allowed",
                code=FaultCode.TOO_LONG,
            )
        return None


class _Numeric(_Declared):
    """What variables with numbers share. The limits are declared by the classes below."""

    def _range_fault(
        self,
        value: float,
        minimum: float | None,
        maximum: float | None,
        choices: Sequence[float] | None,
    ) -> ValueFault | None:
        if choices is not None:
            return _not_chosen(value, choices)
        least = -MAX_NUMBER if minimum is None else minimum
        most = MAX_NUMBER if maximum is None else maximum
        if least <= value <= most:
            return None
        return ValueFault(
            detail=f"must be {plain(least)} to {plain(most)}", code=FaultCode.OUT_OF_RANGE
        )


class NumberVariable(_Numeric):
    """A number, for example a volume."""

    type: Literal["number"]
    default: Number | None = Field(None, description=_DEFAULT)
    minimum: Number | None = None
    maximum: Number | None = None
    choices: Annotated[list[Number], Field(min_length=1, max_length=MAX_CHOICES)] | None = Field(
        None, description=_CHOICES
    )

    def value_fault(self, value: object) -> ValueFault | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return ValueFault(detail="must be a number")
        return self._range_fault(value, self.minimum, self.maximum, self.choices)


class IntegerVariable(_Numeric):
    """A whole number, for example a duration."""

    type: Literal["integer"]
    default: Integer | None = Field(None, description=_DEFAULT)
    minimum: Integer | None = None
    maximum: Integer | None = None
    choices: Annotated[list[Integer], Field(min_length=1, max_length=MAX_CHOICES)] | None = Field(
        None, description=_CHOICES
    )

    def value_fault(self, value: object) -> ValueFault | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return ValueFault(detail="must be a whole number")
        return self._range_fault(value, self.minimum, self.maximum, self.choices)


class BooleanVariable(_Declared):
    """True or false."""

    type: Literal["boolean"]
    default: bool | None = Field(None, description=_DEFAULT)

    def value_fault(self, value: object) -> ValueFault | None:
        return None if isinstance(value, bool) else ValueFault(detail="must be true or false")


class FileVariable(_Declared):
    """A file of this kind: an asset of the account, or a file at a URL."""

    type: Literal["image", "video", "audio"]
    default: MediaInput | None = Field(None, description=_DEFAULT)

    def value_fault(self, value: object) -> ValueFault | None:
        if isinstance(value, dict):
            match cast("dict[str, object]", value):
                case {"asset": str(asset), **others} if not others:
                    if not ASSET_ID.fullmatch(asset):
                        return ValueFault(
                            detail="is not one of your assets", code=FaultCode.UNKNOWN_ASSET
                        )
                    return None
                case {"url": str(url), **others} if not others:
                    return _address_fault(url)
                case _:
                    pass
        return ValueFault(detail='must be a file: {"asset": id} or {"url": address}')


Variable = Annotated[
    TextVariable | NumberVariable | IntegerVariable | BooleanVariable | FileVariable,
    Field(discriminator="type"),
]
AnyVariable = TextVariable | NumberVariable | IntegerVariable | BooleanVariable | FileVariable
Value = Scalar | Mapping[str, object]
_VARIABLE: Final[TypeAdapter[AnyVariable]] = TypeAdapter(Variable)


def plain(value: Scalar) -> Scalar:
    """Return a whole number as requests have it, without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def read_variable(declared: object) -> AnyVariable | None:
    """Return the declaration; None if it is not valid, which reading the plan reports."""
    try:
        return _VARIABLE.validate_python(declared)
    except ValidationError:
        return None


def declaration_faults(declared: AnyVariable, default: object) -> Iterator[tuple[str, ValueFault]]:
    """Yield the faults of a declaration, each with its field. default: as given; None: none."""
    if isinstance(declared, TextVariable):
        yield from _limit_faults(
            declared.choices, minLength=declared.min_length, maxLength=declared.max_length
        )
    elif isinstance(declared, NumberVariable | IntegerVariable):
        yield from _limit_faults(
            declared.choices, minimum=declared.minimum, maximum=declared.maximum
        )
    fault = None if default is None else declared.value_fault(default)
    if fault is not None:
        yield "default", fault


def _limit_faults(
    choices: Sequence[object] | None, **limits: float | None
) -> Iterator[tuple[str, ValueFault]]:
    """Yield the faults between limits. limits: the lower one first, by their names."""
    names = list(limits)
    if choices is not None:
        for name, limit in limits.items():
            if limit is not None:
                yield name, ValueFault(detail="must not be combined with choices")
        if any(choice in choices[:place] for place, choice in enumerate(choices)):
            yield "choices", ValueFault(detail="has a value twice")
        return
    low, high = limits.values()
    if low is not None and high is not None and low > high:
        yield names[0], ValueFault(detail=f"must not be above {names[1]}")


def _not_chosen(value: Scalar, choices: Sequence[Scalar]) -> ValueFault | None:
    if value in choices:
        return None
    allowed = [plain(choice) for choice in choices]
    return ValueFault(
        detail=f"must be one of {', '.join(map(str, allowed))}",
        code=FaultCode.NOT_SUPPORTED,
        allowed=allowed,
    )


def _address_fault(url: str) -> ValueFault | None:
    if len(url) > MAX_URL_CHARS:
        return ValueFault(
            detail=f"has {len(url)} characters; at most {MAX_URL_CHARS} are allowed",
            code=FaultCode.TOO_LONG,
        )
    try:
        webhook_url(url)
    except ValueError as error:
        return ValueFault(detail=str(error))
    return None
