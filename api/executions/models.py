"""GET /api/models."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from pydantic.alias_generators import to_camel

from api.auth.authentication import CurrentUser
from api.http.openapi import problems
from api.http.schemas import ResponseBody, Usd
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.media.content import MediaKind
from core.domain.plans import Scalar, StepKind
from core.domain.prices import Price, Unit
from core.ordering.planning.catalogue import default_values, get_catalogue
from core.ordering.planning.step_requests import public_name
from core.providers.models import Input, InputType, Model

router = APIRouter(prefix="/api", tags=["models"])


class ModelLimits(ResponseBody):
    """The values that a request may name. An empty list: the model takes no such parameter."""

    durations: Annotated[list[int], Field(description="Whole seconds.")]
    resolutions: list[str]
    aspect_ratios: list[str]
    takes_seed: bool
    takes_image: bool
    needs_image: bool


class ModelDefaults(ResponseBody):
    """The values that a request gets where it names none."""

    duration: int | None
    resolution: str | None
    aspect_ratio: str | None


class ModelPrice(ResponseBody):
    unit: Unit
    unit_price: Usd
    when: dict[str, str] = Field(
        description="The parameters that the price applies to. Empty: any parameters."
    )
    source: str = Field(description="Where the provider publishes the price.")
    read_on: date = Field(description="The day on which the price was read there.")


class ModelInput(ResponseBody):
    """One parameter of a model."""

    name: str
    type: InputType = Field(description="Of a value, or the kind of file that the input takes.")
    required: bool
    default: str | int | float | bool | None
    choices: list[str | int | float | bool] = Field(description="Empty: any value of the type.")
    minimum: float | None = Field(description="Of a number; of a file: its seconds.")
    maximum: float | None
    max_length: int | None = Field(description="Characters of a text.")
    requires: str | None = Field(description="Another parameter that this one requires.")


class OfferedModel(ResponseBody):
    id: str = Field(description="The value for `imageModel` or `videoModel`.")
    provider: str
    kind: StepKind
    default: bool = Field(description="Used for a request that names no model of this kind.")
    usual_seconds: int = Field(description="How long a job of this model usually takes.")
    limits: ModelLimits
    defaults: ModelDefaults
    inputs: list[ModelInput] = Field(description="Everything that a step with this model takes.")
    outputs: list[MediaKind] = Field(description="The kinds of the files that a step makes.")
    currency: Literal["USD"] = "USD"
    prices: list[ModelPrice]


class ModelList(ResponseBody):
    data: list[OfferedModel]


@router.get("/models", summary="List models", responses=problems(FailureCode.UNAUTHENTICATED))
async def list_models(request: Request, user_id: CurrentUser) -> ModelList:
    """Return the models that you can use, with limits and prices; of each kind the default first.

    Models and resolutions without a price are not offered. Your own key at a provider adds the
    models of that provider, even if this service has no key for it.
    """
    catalogue = await get_catalogue(services_of(request).ordering, user_id)
    return ModelList(
        data=[
            _model(provider.name, model, default=position == 0)
            for kind in StepKind
            for position, (provider, model) in enumerate(catalogue.models(kind))
        ]
    )


def _model(provider: str, model: Model, *, default: bool) -> OfferedModel:
    defaults = default_values(model)
    return OfferedModel(
        id=model.id,
        provider=provider,
        kind=model.kind,
        default=default,
        usual_seconds=model.usual_seconds,
        limits=_limits(model),
        defaults=ModelDefaults.model_validate(
            {
                "duration": defaults.get("duration_seconds"),
                "resolution": defaults.get("resolution"),
                "aspectRatio": defaults.get("aspect_ratio"),
            }
        ),
        inputs=[_input(item, defaults) for item in model.inputs],
        outputs=[output.kind for output in model.outputs],
        prices=[_price(price) for price in model.prices],
    )


def _limits(model: Model) -> ModelLimits:
    return ModelLimits.model_validate(
        {
            "durations": model.choices("duration_seconds"),
            "resolutions": model.choices("resolution"),
            "aspectRatios": model.choices("aspect_ratio"),
            "takesSeed": model.takes("seed"),
            "takesImage": model.takes("image"),
            "needsImage": model.needs("image"),
        }
    )


def _input(item: Input, defaults: Mapping[str, Scalar]) -> ModelInput:
    return ModelInput(
        name=to_camel(public_name(item.name)),
        type=item.type,
        required=item.required,
        default=defaults.get(item.name, item.default),
        choices=list(item.choices),
        minimum=item.minimum,
        maximum=item.maximum,
        max_length=item.max_length,
        requires=to_camel(public_name(item.needs)) if item.needs is not None else None,
    )


def _price(price: Price) -> ModelPrice:
    return ModelPrice(
        unit=price.unit,
        unit_price=price.unit_usd_text,
        when=dict(price.when),
        source=price.source,
        read_on=date.fromisoformat(price.read_on),
    )
