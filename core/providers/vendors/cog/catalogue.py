"""The operator's models on Cog servers, from a TOML file (docs/how-to/self-hosted-models.md)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from core.domain.media.content import MediaKind
from core.domain.money import NANO_PER_USD
from core.domain.plans import Scalar, StepKind
from core.domain.prices import Price, Unit
from core.platform.settings.base import SettingError
from core.platform.urls import checked_url
from core.providers.entries import MAX_SEED
from core.providers.models import Constant, Input, InputType, Measure, Model, OutputField
from core.providers.volumes import Volume, Volumes

PREFIX: Final = "cog/"
"""Before each model's name: no other provider has a model of the same id."""
OUTPUT: Final = "output"
"""The member of a prediction that holds its files."""
_SOURCE: Final = "the operator's own price"
_OUTPUTS: Final[Mapping[StepKind, MediaKind]] = {
    StepKind.IMAGE: MediaKind.IMAGE,
    StepKind.VIDEO: MediaKind.VIDEO,
    StepKind.AUDIO: MediaKind.AUDIO,
    StepKind.TRANSCRIPT: MediaKind.TRANSCRIPT,
    StepKind.CUTOUT: MediaKind.IMAGE,
    StepKind.LIP_SYNC: MediaKind.VIDEO,
    StepKind.TALKING_HEAD: MediaKind.VIDEO,
    StepKind.UPSCALE: MediaKind.IMAGE,
}
"""The kind of a model's files, unless its entry names another."""
_TYPES: Final[Mapping[str, InputType]] = {
    "duration_seconds": InputType.INTEGER,
    "seed": InputType.INTEGER,
    "sound": InputType.FLAG,
    "image": InputType.IMAGE,
    "end_image": InputType.IMAGE,
    "video": InputType.VIDEO,
    "audio": InputType.AUDIO,
}
"""The types of inputs that are no text, unless their entry names another."""
_VALUES: Final[Mapping[InputType, tuple[type, ...]]] = {
    InputType.TEXT: (str,),
    InputType.INTEGER: (int,),
    InputType.NUMBER: (int, float),
    InputType.FLAG: (bool,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model, by its name in the file, and the address of its server."""

    name: str
    url: str
    model: Model

    def prediction_url(self, prediction: str) -> str:
        return f"{self.url}/predictions/{prediction}"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Input(_Entry):
    """An input, with the fields of `core.providers.models.Input`."""

    name: Annotated[str, Field(pattern="^[a-z][a-z_]*$")]
    field: str | None = None
    type: InputType | None = None
    required: bool = False
    default: Scalar | None = None
    choices: tuple[Scalar, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    needs: str | None = None
    unless: str | None = None
    template: str | None = None
    listed: bool = False

    @property
    def input_type(self) -> InputType:
        return self.type or _TYPES.get(self.name, InputType.TEXT)

    @model_validator(mode="after")
    def _typed(self) -> Self:
        values = [*self.choices, *([] if self.default is None else [self.default])]
        expected = _VALUES.get(self.input_type, ())
        for value in values:
            if type(value) not in expected:
                raise ValueError(f"{value!r} is no value of the type {self.input_type}")
        return self

    def entry(self) -> Input:
        is_seed = self.name == "seed"
        return Input(
            name=self.name,
            field=self.field or self.name,
            type=self.input_type,
            required=self.required,
            default=self.default,
            choices=self.choices,
            minimum=0 if is_seed and self.minimum is None else self.minimum,
            maximum=MAX_SEED if is_seed and self.maximum is None else self.maximum,
            max_length=self.max_length,
            needs=self.needs,
            unless=self.unless,
            template=self.template,
            listed=self.listed,
        )


class _Price(_Entry):
    unit: Literal["run", "gpu_second"]
    usd: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]

    def entry(self, read_on: str) -> Price:
        return Price(
            unit=Unit(self.unit),
            unit_nano_usd=self.usd * NANO_PER_USD,
            source=_SOURCE,
            read_on=read_on,
        )


_FREE: Final = _Price(unit="run", usd=Decimal(0))


class _Model(_Entry):
    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
    kind: StepKind
    output: MediaKind | None = None
    url: Annotated[str, AfterValidator(checked_url)]
    usual_seconds: Annotated[int, Field(ge=1)]
    deadline_seconds: Annotated[int, Field(ge=1)]
    price: _Price = _FREE
    constants: dict[str, object] = {}
    inputs: tuple[_Input, ...]

    @field_validator("inputs")
    @classmethod
    def _distinct(cls, value: tuple[_Input, ...]) -> tuple[_Input, ...]:
        if len({item.name for item in value}) != len(value):
            raise ValueError("two inputs have the same name")
        return value

    def served(self, read_on: str) -> Served:
        """Return the model as the adapters know models. read_on: the day of the price."""
        constants = tuple(Constant(name, value) for name, value in self.constants.items())
        output = self.output or _OUTPUTS[self.kind]
        model = Model(
            id=f"{PREFIX}{self.name}",
            kind=self.kind,
            body=(*(item.entry() for item in self.inputs), *constants),
            outputs=(OutputField(path=OUTPUT, kind=output),),
            prices=(self.price.entry(read_on),),
            measure=Measure(),
            usual_seconds=self.usual_seconds,
            deadline_seconds=self.deadline_seconds,
            longest_run_seconds=self.deadline_seconds,
        )
        return Served(name=self.name, url=self.url, model=model)


class _File(_Entry):
    models: tuple[_Model, ...]

    @field_validator("models")
    @classmethod
    def _distinct(cls, value: tuple[_Model, ...]) -> tuple[_Model, ...]:
        if len({item.name for item in value}) != len(value):
            raise ValueError("two models have the same name")
        return value


def load_models(path: Path) -> tuple[Served, ...]:
    """Return the models of a file. Raises SettingError that names what is wrong in it."""
    try:
        return _read(path)
    except OSError as error:
        problem = f"cannot be read ({type(error).__name__})"
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problem = f"is not TOML: {error}"
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        problem = f"{place}: {first['msg'].removeprefix('Value error, ')}"
    raise SettingError(f"COG_MODELS_FILE: {path} {problem}")


def _read(path: Path) -> tuple[Served, ...]:
    plain = tomllib.loads(path.read_text(encoding="utf-8"))
    read_on = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
    return tuple(item.served(read_on) for item in _File.model_validate(plain).models)


def volume(seconds: float) -> Volume:
    """Return the volume of one run. seconds: of GPU time."""
    return Volume(runs=1, gpu_seconds=Decimal(str(seconds)))


def volumes(model: Model) -> Volumes:
    """Return the volumes that a run may have: its worst case is the model's deadline."""
    usual = volume(min(model.usual_seconds, model.deadline_seconds))
    return Volumes(least=usual, usual=usual, most=volume(model.deadline_seconds))
