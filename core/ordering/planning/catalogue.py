"""The models that a user can order, and the defaults that a request gets with each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from core.domain.ids import UserId
from core.domain.plans import StepKind
from core.ordering.services import OrderingServices
from core.providers.port import Model, Provider
from core.providers.registry import Providers
from core.store.database import Connection
from core.store.providers.user_keys import list_current

DEFAULT_DURATION_SECONDS: Final = 5
DEFAULT_RESOLUTION: Final = "720p"
DEFAULT_ASPECT_RATIO: Final = "16:9"

T = TypeVar("T")


async def get_catalogue(services: OrderingServices, user_id: UserId) -> Providers:
    """Return the providers that a user can order from, for listing and pricing.

    A user's own keys add providers that the service has no key for.
    """
    if services.providers.all_on_offer:
        return services.providers
    async with services.database.reading_as(user_id) as conn:
        return await get_catalogue_in(conn, services.providers, user_id)


async def get_catalogue_in(conn: Connection, providers: Providers, user_id: UserId) -> Providers:
    """Return the same in a transaction of the user."""
    if providers.all_on_offer:
        return providers
    return providers.for_user(await list_current(conn, user_id))


def models_for_step(catalogue: Providers, kind: StepKind) -> tuple[tuple[Provider, Model], ...]:
    """Return the models that can do a step of this kind, the default first.

    Only priced models are included, and only video models that start from an image.
    """
    return tuple(
        (provider, model)
        for provider, model in catalogue.models(kind)
        if kind is StepKind.IMAGE or model.limits.takes_image
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The default parameters of requests. None: the model has no such parameter."""

    duration_seconds: int | None
    resolution: str | None
    aspect_ratio: str | None


def defaults_of(model: Model) -> Defaults:
    """Return the service's defaults where the model supports them, otherwise the model's own."""
    limits = model.limits
    return Defaults(
        duration_seconds=_supported_or(
            model.default_duration_seconds, DEFAULT_DURATION_SECONDS, limits.durations_seconds
        ),
        resolution=_supported_or(model.default_resolution, DEFAULT_RESOLUTION, limits.resolutions),
        aspect_ratio=_supported_or(
            model.default_aspect_ratio, DEFAULT_ASPECT_RATIO, limits.aspect_ratios
        ),
    )


def _supported_or(fallback: T | None, preferred: T, supported: Sequence[T]) -> T | None:
    return preferred if preferred in supported else fallback
