"""GET /api/models."""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from api.auth.authentication import CurrentUser
from api.http.openapi import problems
from api.http.schemas import ResponseBody, Usd
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.plans import StepKind
from core.domain.prices import Price, Unit
from core.ordering.planning.catalogue import defaults_of, get_catalogue, models_for_step
from core.providers.port import Limits, Model

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


class OfferedModel(ResponseBody):
    id: str = Field(description="The value for `imageModel` or `videoModel`.")
    provider: str
    kind: StepKind
    default: bool = Field(description="Used for a request that names no model of this kind.")
    usual_seconds: int = Field(description="How long a job of this model usually takes.")
    limits: ModelLimits
    defaults: ModelDefaults
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
            for position, (provider, model) in enumerate(models_for_step(catalogue, kind))
        ]
    )


def _model(provider: str, model: Model, *, default: bool) -> OfferedModel:
    defaults = defaults_of(model)
    return OfferedModel(
        id=model.id,
        provider=provider,
        kind=model.kind,
        default=default,
        usual_seconds=model.usual_seconds,
        limits=_limits(model.limits),
        defaults=ModelDefaults(
            duration=defaults.duration_seconds,
            resolution=defaults.resolution,
            aspect_ratio=defaults.aspect_ratio,
        ),
        prices=[_price(price) for price in model.prices],
    )


def _limits(limits: Limits) -> ModelLimits:
    return ModelLimits(
        durations=list(limits.durations_seconds),
        resolutions=list(limits.resolutions),
        aspect_ratios=list(limits.aspect_ratios),
        takes_seed=limits.takes_seed,
        takes_image=limits.takes_image,
        needs_image=limits.needs_image,
    )


def _price(price: Price) -> ModelPrice:
    return ModelPrice(
        unit=price.unit,
        unit_price=price.unit_usd_text,
        when=dict(price.when),
        source=price.source,
        read_on=date.fromisoformat(price.read_on),
    )
