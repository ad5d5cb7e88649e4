"""References to files in the parameters of a media step."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Self, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

StepName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
MAX_REFERENCE_CHARS = 2000


class OperationModel(BaseModel):
    """The published form: camelCase names; an unknown name is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )


class Reference(OperationModel):
    """A file: an output of another step, an asset, or an address. Exactly one of the three.

    output: the name of the step's output; None for its first. optional: left out if its step failed
    or was cancelled; without it, the step that uses it is cancelled, too.
    """

    step: StepName | None = None
    output: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")] | None = None
    asset: Annotated[str, Field(max_length=64)] | None = None
    url: Annotated[str, Field(max_length=MAX_REFERENCE_CHARS)] | None = None
    optional: bool = False

    @model_validator(mode="before")
    @classmethod
    def _bare_address(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(place is not None for place in (self.step, self.asset, self.url)) != 1:
            raise ValueError('must be {"step": name}, {"asset": id} or {"url": address}')
        if self.output is not None and self.step is None:
            raise ValueError("output requires step")
        return self


def references_in(value: object, pointer: str = "") -> Iterator[tuple[str, Reference]]:
    """Yield every reference in parameters with its JSON Pointer, without the first slash.

    The pointer uses the published names, for example `items/0/media`.
    """
    if isinstance(value, Reference):
        yield pointer, value
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            public = field.alias or name
            yield from references_in(getattr(value, name), _joined(pointer, public))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(cast("Sequence[object]", value)):
            yield from references_in(item, _joined(pointer, str(place)))


def _joined(pointer: str, name: str) -> str:
    return f"{pointer}/{name}" if pointer else name
