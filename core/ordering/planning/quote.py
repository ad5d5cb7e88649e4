"""Quotes: what an order may cost, by the same plan, prices and code that hold and settle it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from core.domain.alternatives import Alternative, quote_with
from core.domain.ids import AssetId, UserId
from core.domain.plans import Parameters, Step
from core.domain.prices import Quote
from core.ordering.accept import check_webhook_url
from core.ordering.assets.sounds import assume_sounds
from core.ordering.assets.sources import assets_of, assumed_sources, keep_assets
from core.ordering.errors import AssetDeletedError, ModelNotOfferedError
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.planning.nodes.purchases import media_of
from core.ordering.planning.requests import PlanRequest, plan_without
from core.ordering.planning.retried import StepFiles
from core.ordering.planning.steps import KnownFile, PricedPlan
from core.ordering.planning.voices import unknown_voices
from core.ordering.services import OrderingServices
from core.providers.inputs import complete_inputs
from core.providers.models import MediaInput
from core.providers.registry import Providers


async def quote_order(
    services: OrderingServices,
    user_id: UserId,
    request: PlanRequest,
    *,
    webhook_url: str | None = None,
) -> PricedPlan:
    """Return the priced plan of a request. Nothing is held, stored or started.

    No file is fetched or extracted either; voices are read from their provider. Raises
    InvalidFieldsError, and MediaRefusedError for a video without sound. Budgets and other limits
    are not checked.
    """
    check_webhook_url(services.outbound, webhook_url)
    sources, assumed = assumed_sources(request.files)
    known: dict[AssetId, KnownFile] = {}
    if assets_of(sources.values()):
        async with services.database.as_user(user_id) as conn:
            known = await keep_assets(conn, user_id, sources.values())
            sources, sounds = await assume_sounds(conn, user_id, request.sounds, sources)
            assumed |= sounds
    catalogue = await get_catalogue(services, user_id)
    faults = await unknown_voices(services, user_id, request.voiced)
    return plan_without(faults, request.with_sources(sources), catalogue, {**known, **assumed})


def quote_step(
    catalogue: Providers,
    step: Step,
    parameters: Parameters,
    files: StepFiles,
) -> Quote:
    """Return today's quote of a step that was planned earlier. files: those that it may use.

    Raises AssetDeletedError if an asset is missing, and ModelNotOfferedError if the model is no
    longer offered, or not with these parameters.
    """
    if any(asset_id not in files.assets for asset_id in assets_of(parameters.sources.values())):
        raise AssetDeletedError(step)
    offer = catalogue.find_model(step.model, step.provider)
    if offer is None:
        raise ModelNotOfferedError(step)
    provider, model = offer
    known = {
        name: MediaInput() if (file := files.of(source)) is None else media_of(model, name, file)
        for name, source in parameters.sources.items()
    }
    # A file that the model does not take fails the step before its send, with the reason.
    for media in (known, dict.fromkeys(known, MediaInput())):
        with suppress(ValueError):
            return provider.quote(model, complete_inputs(model, parameters.values, media))
    raise ModelNotOfferedError(step)


def quote_again(
    catalogue: Providers,
    step: Step,
    parameters: Parameters,
    files: StepFiles,
    planned: Sequence[Alternative],
) -> tuple[Quote, tuple[Alternative, ...]]:
    """Return today's quote of a step that was planned earlier, with its alternatives.

    An alternative that is no longer offered is left out. Raises as `quote_step` does.
    """
    quote = quote_step(catalogue, step, parameters, files)
    alternatives: list[Alternative] = []
    for item in planned:
        other = replace(step, provider=item.provider, model=item.model)
        try:
            priced = quote_step(catalogue, other, item.parameters(parameters), files)
        except ModelNotOfferedError:
            continue
        alternatives.append(replace(item, worst_nano_usd=priced.worst_nano_usd, price=priced.price))
    return quote_with(quote, alternatives), tuple(alternatives)
