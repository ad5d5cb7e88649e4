"""Steps in the bodies of plans: paid steps, and a media step for each operation."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    create_model,
    model_validator,
)
from pydantic.alias_generators import to_pascal, to_snake

from api.http.ids import ASSET_ID
from api.http.schemas import RequestBody
from core.domain.ids import AssetId
from core.domain.plans import (
    GENERATIVE,
    MAX_STEPS,
    AnyKind,
    AssetSource,
    DecisionKind,
    OnFailure,
    OperationKind,
    Parameters,
    Scalar,
    StepKind,
    StepOutput,
)
from core.media.operations.port import Operation, OperationParameters
from core.media.operations.references import Reference, references_in
from core.media.operations.registry import OPERATIONS
from core.ordering.assets.sources import RequestedSource, UrlSource
from core.ordering.errors import FaultCode, FieldError
from core.ordering.planning.step_requests import StepRequest, parameter_name
from core.platform.urls import MAX_URL_CHARS, webhook_url

MAX_PARAMETERS: Final = 40
MAX_MODELS: Final = 5
MAX_OUTPUT: Final = 50
MAX_COUNT: Final = 8
MIN_DEADLINE: Final = 10
MAX_DEADLINE: Final = 86_400
MAX_NUMBER: Final = 2**53
"""Above it, JavaScript and jsonb read different numbers."""
_PARAMETER: Final = (
    'must be text, a number, true, false, or a file: {"step": name}, {"asset": id} or '
    '{"url": address}'
)
NAME: Final = r"^[a-z][a-z0-9-]{0,39}$"
StepName = Annotated[str, Field(pattern=NAME)]
ParameterName = Annotated[str, Field(pattern=r"^[a-z][A-Za-z0-9]{0,39}$")]


class NamedOutput(RequestBody):
    """An output of another step: its name, or its number from 0. Default: the first."""

    step: StepName
    output: StepName | Annotated[int, Field(ge=0, le=MAX_OUTPUT)] | None = None

    @property
    def name(self) -> str | None:
        return self.output if isinstance(self.output, str) else None

    @property
    def number(self) -> int:
        return self.output if isinstance(self.output, int) else 0


def _parameter(value: object) -> Scalar | RequestedSource | NamedOutput:
    """Return the value or the file that a plan names. Raise ValueError for anything else."""
    if isinstance(value, str | bool) or (
        isinstance(value, int | float) and abs(value) <= MAX_NUMBER
    ):
        return value
    if isinstance(value, dict):
        plain = cast("dict[str, object]", value)
        match plain, len(plain):
            case ({"step": str(_)}, 1) | ({"step": str(_), "output": str(_) | int(_)}, 2):
                try:
                    return NamedOutput.model_validate(plain)
                except ValidationError:
                    raise ValueError(_PARAMETER) from None
            case ({"asset": str(asset)}, 1) if ASSET_ID.fullmatch(asset):
                return AssetSource(asset=AssetId(asset))
            case ({"url": str(url)}, 1) if len(url) <= MAX_URL_CHARS:
                return UrlSource(url=webhook_url(url))
            case _:
                pass
    raise ValueError(_PARAMETER)


Parameter = Annotated[
    Any,
    PlainValidator(_parameter),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER},
                {"type": "boolean"},
                {
                    "type": "object",
                    "description": "An output of another step; `output`: its name, or its number "
                    "from 0.",
                    "properties": {
                        "step": {"type": "string", "pattern": NAME},
                        "output": {
                            "anyOf": [
                                {"type": "string", "pattern": NAME},
                                {"type": "integer", "minimum": 0, "maximum": MAX_OUTPUT},
                            ]
                        },
                    },
                    "required": ["step"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "description": "An upload, or an output of an earlier execution.",
                    "properties": {"asset": {"type": "string", "pattern": f"^{ASSET_ID.pattern}$"}},
                    "required": ["asset"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "description": "Imported as an asset before the request is accepted.",
                    "properties": {"url": {"type": "string", "maxLength": MAX_URL_CHARS}},
                    "required": ["url"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


class StepFields(RequestBody):
    """What steps of every kind have."""

    name: StepName = Field(description="Unique in the plan.")
    needs: Annotated[list[StepName], Field(max_length=MAX_STEPS)] = Field(
        default_factory=list[str],
        description="Steps to wait for, in addition to those whose outputs are used.",
    )
    on_failure: Annotated[OnFailure, Field(strict=False)] = Field(
        OnFailure.STOP,
        description="`stop`: nothing more is started when the step fails. `continue`: the other "
        "steps continue; those that use the step are cancelled, unless its file is `optional`.",
    )
    deadline_seconds: Annotated[int, Field(ge=MIN_DEADLINE, le=MAX_DEADLINE)] | None = Field(
        None,
        description="How long the step may take from its first submit, before it is cancelled and "
        "fails. Default, and at most: the deadline of the model or the operation.",
    )


_KINDS: Final = (*StepKind, *OPERATIONS, *DecisionKind)


def _known_kind(value: object) -> object:
    if value not in tuple(StepKind):
        raise ValueError(f"must be one of {', '.join(_KINDS)}")
    return value


class PaidStep(StepFields):
    """A step that a model of a provider does."""

    kind: Annotated[StepKind, Field(strict=False), BeforeValidator(_known_kind)]
    model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="See `GET /api/models`. Default: the first of the kind that fits."
    )
    models: (
        Annotated[
            list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=MAX_MODELS)
        ]
        | None
    ) = Field(
        None,
        description="Instead of `model`: the model and its alternatives. The next one is used only "
        "after a job that certainly cost nothing; the worst price of all is held.",
    )
    provider: Annotated[str, Field(max_length=40)] | None = Field(
        None, description="Needed where several providers have a model of this name."
    )
    params: Annotated[dict[ParameterName, Parameter], Field(max_length=MAX_PARAMETERS)] = Field(
        json_schema_extra={"additionalProperties": False},
        description="The parameters of the model by their names in `GET /api/models`: text, "
        'numbers and flags; and files, as `{"step": name}`, `{"asset": id}` or `{"url": …}`.',
    )
    reuse: bool | None = Field(
        None,
        description="Whether to use the files that an earlier purchase of yours brought for the "
        "same model, parameters and files, at no cost. Default: true, and false for `image` and "
        "`video`, which need a `seed` for it.",
    )

    count: Annotated[int, Field(ge=2, le=MAX_COUNT)] | None = Field(
        None,
        description="Buy so many candidates, named `clip-1`, `clip-2` and so on for a step `clip`. "
        "An approval step chooses one of them. A `seed` is that of the first, one more for each.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.model is not None and self.models is not None:
            raise ValueError("name either model or models")
        return self

    def step_request(self, position: int) -> StepRequest:
        path = f"plan/steps/{position}/"
        named = dict(self._named_parameters())
        outputs = {name: value for name, value in named.items() if isinstance(value, NamedOutput)}
        return StepRequest(
            name=self.name,
            kind=self.kind,
            model=self.model,
            models=tuple(self.models or ()),
            provider=self.provider,
            parameters=Parameters(
                values={name: value for name, value in named.items() if isinstance(value, Scalar)}
            ),
            named={name: value.name for name, value in outputs.items() if value.name is not None},
            on_failure=self.on_failure,
            needs=tuple(dict.fromkeys(self.needs)),
            count=self.count or 1,
            reuse=self.kind not in GENERATIVE if self.reuse is None else self.reuse,
            deadline_seconds=self.deadline_seconds,
            path=path,
            field_prefix=f"{path}params/",
            model_field=f"{path}{'models' if self.models else 'model'}",
        )

    def files(self, position: int) -> dict[str, RequestedSource]:
        """Return the files that the step uses, by the paths of their fields."""
        files: dict[str, RequestedSource] = {}
        for name, value in self._named_parameters():
            field = f"plan/steps/{position}/params/{name}"
            if isinstance(value, NamedOutput):
                files[field] = StepOutput(step=value.step, output=value.number)
            elif not isinstance(value, Scalar):
                files[field] = value
        return files

    def faults(self, position: int) -> Iterator[FieldError]:
        """Yield what is wrong beyond single fields. Files are checked while they are read."""
        if self.reuse and self.kind in GENERATIVE and "seed" not in self.params:
            yield FieldError(
                field=f"plan/steps/{position}/reuse",
                detail=f"needs a seed in params: without one, each {self.kind} is another",
                code=FaultCode.MISSING,
            )

    def _named_parameters(self) -> Iterator[tuple[str, Scalar | RequestedSource | NamedOutput]]:
        for name, value in self.params.items():
            yield parameter_name(to_snake(name)), value


class MediaStep(StepFields):
    """A step that this service does itself, free of charge. Its params are the operation's."""

    kind: OperationKind
    params: OperationParameters

    def step_request(self, position: int) -> StepRequest:
        path = f"plan/steps/{position}/"
        references = dict(references_in(self.params))
        return StepRequest(
            name=self.name,
            kind=OperationKind(self.kind),
            parameters=Parameters(),
            operation=self.params,
            named={
                pointer: each.output
                for pointer, each in references.items()
                if each.output is not None
            },
            optional=frozenset(pointer for pointer, each in references.items() if each.optional),
            on_failure=self.on_failure,
            deadline_seconds=self.deadline_seconds,
            needs=tuple(dict.fromkeys(self.needs)),
            path=path,
            field_prefix=f"{path}params/",
        )

    def files(self, position: int) -> dict[str, RequestedSource]:
        """Return the files that the step uses, by the paths of their fields."""
        return {
            f"plan/steps/{position}/params/{pointer}": _source(reference)
            for pointer, reference in references_in(self.params)
        }

    def faults(self, position: int) -> Iterator[FieldError]:
        """Yield the addresses that are not valid."""
        for pointer, reference in references_in(self.params):
            field = f"plan/steps/{position}/params/{pointer}"
            if reference.asset is not None and not ASSET_ID.fullmatch(reference.asset):
                yield FieldError(
                    field=field, detail="is not one of your assets", code=FaultCode.UNKNOWN_ASSET
                )
            if reference.url is None:
                continue
            try:
                webhook_url(reference.url)
            except ValueError as error:
                yield FieldError(field=field, detail=str(error))


def _source(reference: Reference) -> RequestedSource:
    if reference.step is not None:
        return StepOutput(step=reference.step)
    if reference.asset is not None:
        return AssetSource(asset=AssetId(reference.asset))
    return UrlSource(url=webhook_url(reference.url or ""))


_PAID: Final = "paid"
NO_OTHERS: Final[Mapping[AnyKind, type[StepFields]]] = {}


def _unconverted(value: object, read: ValidatorFunctionWrapHandler) -> OperationParameters:
    """Read parameters, and refuse a text or a flag in place of a number, and the reverse."""
    parameters: OperationParameters = read(value)
    pointer = next(_converted(value, parameters.model_dump(mode="json", by_alias=True)), None)
    if pointer is not None:
        raise ValueError(f"{pointer} has a value of a wrong type")
    return parameters


def _converted(raw: object, made: object, pointer: str = "") -> Iterator[str]:
    """Yield the pointers of values that were read as another type."""
    if isinstance(raw, dict) and isinstance(made, dict):
        objects = cast("dict[str, object]", raw), cast("dict[str, object]", made)
        for name in objects[0].keys() & objects[1].keys():
            yield from _converted(objects[0][name], objects[1][name], f"{pointer}/{name}")
    elif isinstance(raw, list) and isinstance(made, list):
        items = zip(cast("list[object]", raw), cast("list[object]", made), strict=False)
        for place, (item, result) in enumerate(items):
            yield from _converted(item, result, f"{pointer}/{place}")
    elif isinstance(made, bool) is not isinstance(raw, bool) and isinstance(raw, Scalar):
        if isinstance(made, Scalar):
            yield pointer.removeprefix("/")
    elif isinstance(raw, str) and isinstance(made, int | float) and _is_number(raw):
        yield pointer.removeprefix("/")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def media_step(kind: AnyKind, operation: Operation[Any]) -> type[MediaStep]:
    """Return the model of the steps of an operation."""
    fields: dict[str, Any] = {
        "kind": (Literal[kind.value], ...),
        "params": (Annotated[operation.parameters, WrapValidator(_unconverted)], ...),
    }
    return create_model(
        f"{to_pascal(kind.replace('-', '_'))}Step",
        __base__=MediaStep,
        __doc__=(operation.__doc__ or "").partition("\n\n")[0],
        **fields,
    )


def step_type(
    operations: Mapping[OperationKind, Operation[Any]],
    others: Mapping[AnyKind, type[StepFields]] = NO_OTHERS,
) -> Any:
    """Return the type of a step: the paid one, or that of the free kind that it names."""
    free: dict[AnyKind, type[StepFields]] = {
        kind: media_step(kind, operation) for kind, operation in operations.items()
    }
    free.update(others)
    if not free:
        return PaidStep

    def tag(value: object) -> str:
        kind = (
            cast("Mapping[str, object]", value).get("kind")
            if isinstance(value, Mapping)
            else getattr(value, "kind", None)
        )
        return kind if isinstance(kind, str) and kind in tuple(free) else _PAID

    union: Any = Annotated[PaidStep, Tag(_PAID)]
    for kind, step in free.items():
        union = union | Annotated[step, Tag(kind.value)]
    return Annotated[union, Discriminator(tag)]
