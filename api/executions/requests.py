"""Request bodies and query parameters of executions."""

import json
import unicodedata
from typing import Annotated

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api.executions.media import MediaInput, requested_files
from api.http.schemas import QueryParameters, QueryTime, RequestBody
from api.webhooks.fields import WebhookSecret, WebhookUrl
from core.domain.plans import PlanType
from core.domain.states import ExecutionStatus
from core.ordering.planning.plan import VideoRequest

MAX_METADATA_BYTES = 4096
MAX_METADATA_NUMBER = 2**53
"""Above it, JavaScript and jsonb read different numbers."""

MetadataValue = StrictStr | StrictInt | StrictFloat | StrictBool


# Fillers that Unicode classifies as letters or symbols although they show nothing.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def not_blank(value: str) -> str:
    """Refuse a text without a visible character: spaces, controls, joiners, marks alone."""
    if not any(unicodedata.category(sign)[0] in "LNPS" for sign in value if sign not in _BLANK):
        raise ValueError("must have a visible character")
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("contains the character NUL")
    return value


def _check_metadata(value: dict[str, MetadataValue]) -> dict[str, MetadataValue]:
    for item in value.values():
        if isinstance(item, int | float) and abs(item) > MAX_METADATA_NUMBER:
            raise ValueError(f"must not contain a number beyond ±{MAX_METADATA_NUMBER}")
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"must not exceed {MAX_METADATA_BYTES} bytes as JSON")
    return value


MaxCost = Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", examples=["0.50"])]
Metadata = Annotated[
    dict[str, MetadataValue], Field(max_length=16), AfterValidator(_check_metadata)
]


class OrderBody(RequestBody):
    """The fields of every request that is accepted as an execution."""

    max_cost: MaxCost | None = Field(
        None,
        description="The most that this execution may cost in US dollars, retries included.",
    )
    webhook: WebhookUrl | None = Field(
        None,
        description="The URL that receives the webhook when the execution ends: http or https, a "
        "public address, port 80, 443, 8080 or 8443.",
    )
    webhook_secret: WebhookSecret | None = Field(
        None,
        repr=False,
        description="Signs the webhook of this execution: `whsec_` with base64 of 24 to 64 bytes, "
        "or any text of 16 to 256 characters. Default: the secret of the endpoint, else of the "
        "account.",
    )
    metadata: Metadata | None = Field(
        None,
        description="Returned with the execution and in its webhook: at most 16 strings, numbers "
        "or booleans, 4 KB.",
    )

    @field_validator("webhook_secret")
    @classmethod
    def _needs_webhook(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and "webhook" in info.data and info.data["webhook"] is None:
            raise ValueError("requires a webhook")
        return value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """List these fields after those of the subclass."""
        schema = handler(core_schema)
        fields = handler.resolve_ref_schema(schema)["properties"]
        for name in OrderBody.model_fields:
            fields[to_camel(name)] = fields.pop(to_camel(name))
        return schema


class GenerateVideoRequest(OrderBody):
    """A prompt and, where the defaults do not fit, the models and parameters of the video."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "A paper boat sails down a rainy street at dusk, cinematic",
                    "duration": 5,
                    "resolution": "720p",
                    "aspectRatio": "16:9",
                    "webhook": "https://example.com/hooks/takeone",
                    "metadata": {"orderId": "A-1042"},
                }
            ]
        },
    )

    prompt: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(not_blank)] = Field(
        description="What the video shows."
    )
    negative_prompt: (
        Annotated[str, Field(min_length=1, max_length=500), AfterValidator(not_blank)] | None
    ) = Field(None, description="What to avoid, for models that take it.")
    image: MediaInput | None = Field(
        None, description="Your own start frame: no image is bought. An asset, or a URL."
    )
    end_image: MediaInput | None = Field(
        None, description="Your own last frame, for models that take one; requires `image`."
    )
    audio: MediaInput | None = Field(None, description="Your own sound, for models that take it.")
    text_to_video: bool | None = Field(
        None, description="Make the video from the prompt alone: no image is bought."
    )
    duration: Annotated[int, Field(ge=1, le=30)] | None = Field(
        None,
        description="Whole seconds. Default: 5, or the model's own default if it cannot do that.",
    )
    resolution: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Default: 720p, or the model's own default if it cannot do that."
    )
    aspect_ratio: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Default: 16:9, or the models' own default if they cannot do that."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="The same seed gives a similar result, for models that take a seed."
    )
    image_model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The model that creates the first image. See `GET /api/models`."
    )
    video_model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The model that animates the image. See `GET /api/models`."
    )

    def plan_request(self) -> VideoRequest:
        return VideoRequest(
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            text_to_video=self.text_to_video or False,
            files=requested_files(
                {"image": self.image, "end_image": self.end_image, "audio": self.audio}
            ),
            duration_seconds=self.duration,
            resolution=self.resolution,
            aspect_ratio=self.aspect_ratio,
            seed=self.seed,
            image_model=self.image_model,
            video_model=self.video_model,
        )


class RetryRequest(RequestBody):
    """May be omitted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"acceptPossibleDoubleCost": True}]})

    max_cost: (
        Annotated[str, Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", examples=["0.50"])] | None
    ) = Field(
        None,
        description="The most that the steps that are bought again may cost in US dollars. The "
        "limit of the execution's own `maxCost` stays.",
    )

    accept_possible_double_cost: bool = Field(
        False,
        description="Buy a step again although an earlier purchase of it may still complete and "
        "be billed.",
    )


class ListExecutionsQuery(QueryParameters):
    status: Annotated[list[ExecutionStatus], Field(max_length=len(ExecutionStatus))] = Field(
        default_factory=list[ExecutionStatus],
        description="May be repeated: executions in any of the statuses.",
    )
    type: PlanType | None = None
    metadata_key: Annotated[str, Field(max_length=200), AfterValidator(_without_nul)] | None = (
        Field(None, description="Executions whose metadata has this name.")
    )
    metadata_value: (
        Annotated[str, Field(max_length=MAX_METADATA_BYTES), AfterValidator(_without_nul)] | None
    ) = Field(None, description="With `metadataKey`: its value, as text.")
    created_after: QueryTime | None = None
    created_before: QueryTime | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=200)] | None = None

    @field_validator("metadata_value")
    @classmethod
    def _needs_key(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("metadata_key") is None:
            raise ValueError("requires metadataKey")
        return value
