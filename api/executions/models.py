"""The catalogue: what can be asked of which model, and what it costs; from the declarations that
quote and check.
"""

from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from api.auth.authentication import CurrentUser
from api.http.openapi import problems
from api.http.schemas import ResponseBody as Wire
from api.http.schemas import Usd
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.plans import StepKind
from core.domain.prices import Price, Unit
from core.ordering.catalogue import defaults_of, get_catalogue, models_for_step
from core.providers.port import Limits, Model

router = APIRouter(prefix="/api", tags=["models"])


class ModelLimits(Wire):
    """What a request may ask for; an empty list: the model takes no such thing."""

    durations: Annotated[list[int], Field(description="Whole seconds.")]
    resolutions: list[str]
    aspect_ratios: list[str]
    takes_seed: bool
    takes_image: bool
    needs_image: bool


class ModelDefaults(Wire):
    """What is asked for where a request leaves it open."""

    duration: int | None
    resolution: str | None
    aspect_ratio: str | None


class ModelPrice(Wire):
    """when: what it is the price for; empty: always. source, readOn: where the provider says so,
    and the day on which it was read there.
    """

    unit: Unit
    unit_price: Usd
    when: dict[str, str]
    source: str
    read_on: date


class ModelOnOffer(Wire):
    """default: what a request gets that names no model. usualSeconds: how long a job of it usually
    takes.
    """

    id: Annotated[str, Field(description="What `imageModel` or `videoModel` takes.")]
    provider: str
    kind: StepKind
    default: bool
    usual_seconds: int
    limits: ModelLimits
    defaults: ModelDefaults
    currency: Literal["USD"] = "USD"
    prices: list[ModelPrice]


class ModelList(Wire):
    data: list[ModelOnOffer]


@router.get(
    "/models", summary="Models, limits and prices", responses=problems(FailureCode.UNAUTHENTICATED)
)
async def read_models(request: Request, user_id: CurrentUser) -> ModelList:
    """Of each kind the default first. A model, or a resolution, without a price is not sold, and
    not listed. With a key of your own at a provider, its models are listed too where this
    service has no key for it.
    """
    catalogue = await get_catalogue(services_of(request).ordering, user_id)
    return ModelList(
        data=[
            _model(provider.name, model, default=place == 0)
            for kind in StepKind
            for place, (provider, model) in enumerate(models_for_step(catalogue, kind))
        ]
    )


def _model(provider: str, model: Model, *, default: bool) -> ModelOnOffer:
    defaults = defaults_of(model)
    return ModelOnOffer(
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
