"""The body of POST /v1/videos, as JSON or as a form."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from api.executions.requests import MaxCost, Metadata, not_blank
from api.http.problems.documents import ProblemError, invalid_fields
from api.openai.brackets import Value
from api.webhooks.fields import WebhookUrl
from core.ordering.errors import FaultCode

MAX_PROMPT: Final = 500
INPUT_REFERENCE: Final = "input_reference"
REFERENCE_SHAPE: Final = (
    'must be a file, or an object: {"image_url": "https://…"} or {"image_url": "data:image/png;'
    'base64,…"}'
)
NO_FILE_IDS: Final = (
    "is not supported: this service has no files of OpenAI. Send the picture itself as the file "
    'input_reference, or {"image_url": …}'
)
_SECONDS: Final = r"^[1-9][0-9]{0,2}$"
Text32 = Annotated[str, Field(max_length=32)]
Text200 = Annotated[str, Field(max_length=200)]


class OpenAIBody(BaseModel):
    """Base class of request bodies: names in snake_case, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InputReference(OpenAIBody):
    """The start picture at a URL."""

    image_url: str = Field(
        description="http or https, a public address; or a data URL with base64 of at most 4 MiB."
    )


class CreateVideo(OpenAIBody):
    """A prompt and, where the defaults do not fit, the model and the form of the video."""

    prompt: Annotated[
        str, Field(min_length=1, max_length=MAX_PROMPT), AfterValidator(not_blank)
    ] = Field(description="What the video shows.")
    model: Text200 | None = Field(
        None, description="See `GET /v1/models`. Default: the service's default."
    )
    seconds: Annotated[str, Field(pattern=_SECONDS)] | None = Field(
        None,
        description='Whole seconds. Default: "4", or the length of the model nearest to it.',
        json_schema_extra={
            "anyOf": [
                {"type": "string", "pattern": _SECONDS},
                {"type": "integer", "minimum": 1, "maximum": 999},
                {"type": "null"},
            ]
        },
    )
    size: Annotated[str, Field(pattern=r"^[1-9][0-9]{1,4}x[1-9][0-9]{1,4}$")] | None = Field(
        None,
        description="Width x height, exactly a frame size of the model. Default: 720x1280, or the "
        "frame size of the model nearest to it.",
    )
    input_reference: InputReference | None = Field(
        None,
        description="The start picture; no picture is bought then. In a form also a file: JPEG, "
        "PNG or WebP, of at most 32 MiB.",
    )
    max_cost: MaxCost | None = Field(
        None, description="The most that the video may cost in US dollars, retries included."
    )
    metadata: Metadata | None = Field(
        None,
        description="Returned with the video and in its webhook. In a form all values are text.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="The same seed gives a similar result, for models that take a seed."
    )
    webhook: WebhookUrl | None = Field(
        None, description="The URL that receives `video.completed` or `video.failed`."
    )
    image_model: Text200 | None = Field(
        None, description="The model that creates the first image. See `GET /api/models`."
    )
    resolution: Text32 | None = Field(
        None, description="Together with aspect_ratio, instead of size."
    )
    aspect_ratio: Text32 | None = Field(
        None, description="Together with resolution, instead of size."
    )

    @field_validator("seconds", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        """Accept a number, which OpenAI's own service refuses and other gateways send."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def body_of_json(plain: Mapping[str, Any]) -> CreateVideo:
    """Return a JSON body. Raise ProblemError that names every invalid field."""
    _check_reference(plain.get(INPUT_REFERENCE))
    return _validated(plain)


def body_of_form(values: Mapping[str, Value], *, has_file: bool) -> CreateVideo:
    """Return the body of a form, in which everything is text. Raise ProblemError."""
    plain: dict[str, Any] = dict(values)
    if has_file and INPUT_REFERENCE in plain:
        raise _refused(INPUT_REFERENCE, "may be given once only", FaultCode.INVALID)
    _check_reference(plain.get(INPUT_REFERENCE))
    seed = plain.get("seed")
    if isinstance(seed, str) and seed.isascii() and seed.isdecimal() and len(seed) <= 10:
        plain["seed"] = int(seed)
    return _validated(plain)


def _check_reference(reference: object) -> None:
    if isinstance(reference, dict) and "file_id" in reference:
        raise _refused(f"{INPUT_REFERENCE}.file_id", NO_FILE_IDS, FaultCode.NOT_SUPPORTED)
    if reference is not None and not isinstance(reference, dict):
        raise _refused(INPUT_REFERENCE, REFERENCE_SHAPE, FaultCode.INVALID)


def _validated(plain: Mapping[str, Any]) -> CreateVideo:
    try:
        return CreateVideo.model_validate(plain)
    except ValidationError as error:
        raise invalid_fields([_field(each) for each in error.errors()[:50]]) from None


def _refused(field: str, detail: str, code: FaultCode) -> ProblemError:
    return invalid_fields([{"field": field, "detail": detail, "code": code}])


_CODES: Final[Mapping[str, FaultCode]] = {
    "missing": FaultCode.MISSING,
    "extra_forbidden": FaultCode.UNKNOWN_FIELD,
    "string_too_long": FaultCode.TOO_LONG,
    "greater_than_equal": FaultCode.OUT_OF_RANGE,
    "less_than_equal": FaultCode.OUT_OF_RANGE,
}


def _field(error: Mapping[str, Any]) -> dict[str, object]:
    path = ".".join(str(part) for part in error["loc"])[:200]
    code = _CODES.get(error["type"], FaultCode.INVALID)
    if code is FaultCode.UNKNOWN_FIELD:
        model = InputReference if path.startswith(INPUT_REFERENCE) else CreateVideo
        return {
            "field": path,
            "detail": "is not a field of this request",
            "code": code,
            "allowed": list(model.model_fields),
        }
    detail = "is missing" if code is FaultCode.MISSING else str(error["msg"])
    return {"field": path, "detail": detail.removeprefix("Value error, "), "code": code}


def canonical(body: CreateVideo) -> str:
    """Return the fields that are set as one text: equal orders have equal texts."""
    plain = body.model_dump(mode="json", exclude_none=True)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


_FORM_FIELDS: Final = (
    *("prompt", "model", "seconds", "size", "max_cost", "seed", "webhook", "image_model"),
    *("resolution", "aspect_ratio"),
)


def _text(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a field in a form: it is left out instead of null."""
    return {key: value for key, value in schema.items() if key not in ("anyOf", "default")} | (
        schema["anyOf"][0] if "anyOf" in schema else {}
    )


def _request_body() -> dict[str, Any]:
    schema = CreateVideo.model_json_schema()
    schema["examples"] = [
        {"prompt": "A paper boat sails down a rainy street at dusk", "seconds": "4"}
    ]
    reference = schema.pop("$defs")["InputReference"]
    properties = cast("dict[str, Any]", schema["properties"])
    properties[INPUT_REFERENCE] = {
        "anyOf": [reference, {"type": "null"}],
        "default": None,
        "description": properties[INPUT_REFERENCE]["description"],
    }
    form = {
        "type": "object",
        "required": ["prompt"],
        "additionalProperties": False,
        "description": "The fields of the JSON body as text, members as `metadata[orderId]`.",
        "properties": {
            **{name: _text(properties[name]) for name in _FORM_FIELDS},
            INPUT_REFERENCE: {"type": "string", "format": "binary"},
        },
    }
    return {
        "required": True,
        "content": {
            "application/json": {"schema": schema},
            "multipart/form-data": {"schema": form},
        },
    }


REQUEST_BODY: Final = _request_body()
