"""Reuse in quotes: which steps of a plan would use the files of earlier purchases."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from core.domain.ids import JobId, UserId
from core.domain.money import NanoUsd
from core.domain.plans import StepOutput
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.services import OrderingServices
from core.providers.content_key import purchase_key
from core.providers.registry import Providers
from core.store.database import Connection
from core.store.executions.executions import NewStep
from core.store.files.assets import list_made_assets
from core.store.files.user_assets import find_asset
from core.store.jobs.content_keys import find_bought


class Reuse(StrEnum):
    """Whether a step uses files that are stored already, at no cost.

    `unknown`: it depends on files that are not made or fetched yet.
    """

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


async def expect_reuse(
    services: OrderingServices, user_id: UserId, steps: Sequence[NewStep]
) -> dict[str, Reuse]:
    """Return for each step, by its name, whether it would reuse files now.

    steps: each after those whose outputs it uses.
    """
    reuse = {
        new.step.name: Reuse.UNKNOWN if new.step.is_media or new.step.reuse else Reuse.NO
        for new in steps
    }
    if not any(new.step.reuse for new in steps):
        return reuse
    catalogue = await get_catalogue(services, user_id)
    sources: dict[str, JobId] = {}
    async with services.database.reading_as(user_id) as conn:
        for new in steps:
            key = await _content_key(conn, catalogue, user_id, new, sources)
            if key is None:
                continue
            source = await find_bought(conn, user_id, key)
            reuse[new.step.name] = Reuse.NO if source is None else Reuse.YES
            if source is not None:
                sources[new.step.name] = source
    return reuse


def without_reused(steps: Sequence[NewStep], reuse: Mapping[str, Reuse]) -> tuple[NewStep, ...]:
    """Return the steps with the prices that are expected with reuse.

    The worst price stays: it is held, because the files may be deleted before the step begins.
    """
    free = NanoUsd(0)
    return tuple(
        replace(new, quote=replace(new.quote, low_nano_usd=free, expected_nano_usd=free))
        if reuse[new.step.name] is Reuse.YES
        else new
        for new in steps
    )


async def _content_key(
    conn: Connection,
    catalogue: Providers,
    user_id: UserId,
    new: NewStep,
    sources: Mapping[str, JobId],
) -> str | None:
    """Return the content key of a step; None if it reuses nothing, or a file is not known yet.

    sources: of earlier steps that reuse files, the jobs that have them.
    """
    offer = catalogue.find_model(new.step.model, new.step.provider) if new.step.reuse else None
    if offer is None:
        return None
    _, model = offer
    hashes: dict[str, str] = {}
    for name, source in new.parameters.sources.items():
        if isinstance(source, StepOutput):
            maker = sources.get(source.step)
            made = await list_made_assets(conn, maker) if maker is not None else []
            sha256 = next((a.sha256 for a in made if a.output_number == source.output), None)
        else:
            asset = await find_asset(conn, user_id, source.asset)
            sha256 = asset.sha256 if asset is not None else None
        if sha256 is None:
            return None
        hashes[name] = sha256
    return purchase_key(user_id, new.step.provider, model, new.parameters.values, hashes)
