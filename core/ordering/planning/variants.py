"""Variants of one plan: all of them planned and priced, to check a template."""

import asyncio
from collections.abc import Sequence

from core.domain.ids import AssetId, UserId
from core.domain.plans import Source
from core.ordering.assets.sounds import assume_sounds
from core.ordering.assets.sources import assumed_sources, keep_assets
from core.ordering.errors import FieldError, InvalidFieldsError
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.planning.requests import VOICE, StepsRequest, plan_without
from core.ordering.planning.step_requests import StepRequest
from core.ordering.planning.steps import KnownFile, PricedPlan
from core.ordering.planning.voices import unknown_voices
from core.ordering.services import OrderingServices


async def plan_variants(
    services: OrderingServices, user_id: UserId, variants: Sequence[StepsRequest]
) -> list[PricedPlan | InvalidFieldsError]:
    """Return the priced plan of each variant, or its errors.

    As by a quote, no file is fetched. Each voice is read from its provider once. Raises
    MediaRefusedError for a video without sound.
    """
    faults = await _unknown_voices(services, user_id, variants)
    sources: list[tuple[dict[str, Source], dict[AssetId, KnownFile]]] = []
    async with services.database.as_user(user_id) as conn:
        for variant in variants:
            files, assumed = assumed_sources(variant.files)
            files, sounds = await assume_sounds(conn, user_id, variant.sounds, files)
            sources.append((files, {**assumed, **sounds}))
        kept = await keep_assets(
            conn, user_id, [each for files, _ in sources for each in files.values()]
        )
    catalogue = await get_catalogue(services, user_id)
    results: list[PricedPlan | InvalidFieldsError] = []
    for variant, (files, assumed), fault in zip(variants, sources, faults, strict=True):
        request, assets = variant.with_sources(files), {**kept, **assumed}
        try:
            results.append(plan_without(fault, request, catalogue, assets))
        except InvalidFieldsError as error:
            results.append(error)
        await asyncio.sleep(0)  # other requests run between two plans
    return results


async def _unknown_voices(
    services: OrderingServices, user_id: UserId, variants: Sequence[StepsRequest]
) -> list[tuple[FieldError, ...]]:
    """Return the errors of the voices of each variant. Equal steps are looked up once."""
    known: dict[tuple[object, ...], tuple[FieldError, ...]] = {}
    for variant in variants:
        for step in variant.voiced:
            if _voice(step) not in known:
                known[_voice(step)] = await unknown_voices(services, user_id, [step])
    return [
        tuple(fault for step in variant.voiced for fault in known[_voice(step)])
        for variant in variants
    ]


def _voice(step: StepRequest) -> tuple[object, ...]:
    return step.path, step.tried, step.provider, step.parameters.values[VOICE]
