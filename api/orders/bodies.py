"""Request bodies of executions with one step."""

from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, ConfigDict, Field

from api.executions.media import MediaInput
from api.executions.requests import OrderBody, not_blank
from core.domain.plans import Parameters, PlanType, Scalar, StepKind
from core.ordering.planning.requests import StepsRequest
from core.ordering.planning.step_requests import StepRequest

MAX_PROMPT: Final = 4_000
MAX_SPEECH: Final = 40_000
"""More than the models of the catalogue take; each model's own limit is checked, too."""


class StepBody(OrderBody):
    """An order of one step. The other fields are parameters of the step, named as models name them.

    A field that the chosen model does not take is an error that names what it takes.
    """

    plan_type: ClassVar[PlanType]
    kind: ClassVar[StepKind]

    model: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="See `GET /api/models`. Default: the first of the kind that fits."
    )

    def plan_request(self) -> StepsRequest:
        """Return the plan of this step."""
        named: dict[str, Scalar | MediaInput] = {
            name: value
            for name in type(self).model_fields
            if name not in StepBody.model_fields and (value := getattr(self, name)) is not None
        }
        values = {name: value for name, value in named.items() if isinstance(value, Scalar)}
        files = {
            name: value.source() for name, value in named.items() if isinstance(value, MediaInput)
        }
        step = StepRequest(
            name=self.kind,
            kind=self.kind,
            model=self.model,
            parameters=Parameters(values=values),
        )
        chosen = {} if self.model is None else {"model": self.model}
        return StepsRequest(
            type=self.plan_type,
            steps=(step,),
            result_step=step.name,
            stored={**values, **chosen},
            files=files,
        )


class GenerateImageRequest(StepBody):
    """A prompt and, where the defaults do not fit, the model and parameters of the image."""

    plan_type = PlanType.GENERATE_IMAGE
    kind = StepKind.IMAGE
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "A paper boat in a rainy street at dusk, cinematic",
                    "aspectRatio": "16:9",
                    "webhook": "https://example.com/hooks/takeone",
                    "metadata": {"orderId": "A-1042"},
                }
            ]
        },
    )

    prompt: Annotated[
        str, Field(min_length=1, max_length=MAX_PROMPT), AfterValidator(not_blank)
    ] = Field(description="What the image shows.")
    negative_prompt: Annotated[str, Field(max_length=MAX_PROMPT)] | None = Field(
        None, description="What the image must not show, for models that take it."
    )
    image: MediaInput | None = Field(
        None, description="An image to edit, for models that take one."
    )
    aspect_ratio: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Default: 16:9, or the model's own default if it cannot do that."
    )
    resolution: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Default: the model's."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="The same seed gives a similar result, for models that take a seed."
    )


class GenerateAudioRequest(StepBody):
    """A text and, where the defaults do not fit, the model and parameters of the speech."""

    plan_type = PlanType.GENERATE_AUDIO
    kind = StepKind.AUDIO
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "text": "It never asks where the wind comes from.",
                    "webhook": "https://example.com/hooks/takeone",
                    "metadata": {"orderId": "A-1042"},
                }
            ]
        },
    )

    text: Annotated[str, Field(min_length=1, max_length=MAX_SPEECH), AfterValidator(not_blank)] = (
        Field(description="What is spoken.")
    )
    voice: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="The name or id of a voice, as the model's provider names it. Where an account "
        "has voices of its own: the id of one of them.",
    )
    language: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        None, description="As the model names it; `inputs` of `GET /api/models` lists the choices."
    )
    speed: Annotated[float, Field(gt=0, le=10)] | None = Field(
        None, description="1 is the usual speed."
    )
    stability: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="How even the voice is, for models that take it."
    )
    similarity_boost: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="How close to the original voice, for models that take it."
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="The same seed gives a similar result, for models that take a seed."
    )


class TranscribeRequest(StepBody):
    """A recording whose words are wanted, with their times."""

    plan_type = PlanType.TRANSCRIBE
    kind = StepKind.TRANSCRIPT
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": {"url": "https://example.com/interview.mp3"},
                    "webhook": "https://example.com/hooks/takeone",
                }
            ]
        },
    )

    source: MediaInput = Field(
        description="Sound, or a video of at most 30 minutes, whose sound is used."
    )
    language: Annotated[str, Field(min_length=1, max_length=32)] | None = Field(
        None, description="Of the recording, as the model names it. Default: detected."
    )
