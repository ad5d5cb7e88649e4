"""The models that a user can order, and the defaults that a request gets with each."""

from collections.abc import Iterable, Mapping
from typing import Final

from core.domain.ids import UserId
from core.domain.media.content import MediaKind
from core.domain.plans import Scalar, StepKind
from core.ordering.services import OrderingServices
from core.providers.models import Model
from core.providers.port import Provider
from core.providers.registry import Providers
from core.store.database import Connection
from core.store.providers.user_keys import list_current


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


def fitting_models(
    catalogue: Providers, kind: StepKind, files: Mapping[str, MediaKind | None]
) -> tuple[tuple[Provider, Model], ...]:
    """Return the priced models that can do a step with exactly these media inputs.

    files: the kind of each, None if it is not known. The default comes first.
    """
    return tuple(
        (provider, model) for provider, model in catalogue.models(kind) if _fits(model, files)
    )


def _fits(model: Model, files: Mapping[str, MediaKind | None]) -> bool:
    taken = model.media_inputs
    return files.keys() <= taken.keys() and all(
        files[name] in (None, item.type.media) if name in files else not item.required
        for name, item in taken.items()
    )


PREFERRED: Final[Mapping[str, Scalar]] = {
    "duration_seconds": 5,
    "resolution": "720p",
    "aspect_ratio": "16:9",
}
"""The service's defaults, for models that support them."""


def default_values(model: Model, media: Iterable[str] = ()) -> dict[str, Scalar]:
    """Return the values that a step gets where it names none, of the parameters in PREFERRED.

    media: the media inputs of the step. An input whose default depends on one of them keeps it.
    """
    files = frozenset(media)
    values: dict[str, Scalar] = {}
    for name, preferred in PREFERRED.items():
        item = model.input(name)
        if item is None or not files.isdisjoint(item.default_with):
            continue
        value = preferred if preferred in item.choices else item.default
        if value is not None:
            values[name] = value
    return values
