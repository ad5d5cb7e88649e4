"""Voices that orders name: whether the account at their provider has them."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from core.domain.ids import UserId
from core.domain.plans import StepKind
from core.ordering.errors import FieldError
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.planning.requests import VOICE
from core.ordering.planning.step_requests import StepRequest
from core.ordering.services import OrderingServices
from core.providers.port import HasVoices, ProviderUnavailableError
from core.providers.registry import Providers
from core.store.providers.user_keys import list_current

READ_SECONDS: Final = 3.0
"""The client waits for the reads, which are made at once."""


async def unknown_voices(
    services: OrderingServices, user_id: UserId, steps: Sequence[StepRequest]
) -> tuple[FieldError, ...]:
    """Return an error for each voice of these steps that the account at its provider does not have.

    The account is that of the user's own key, otherwise of the service's. A read that fails decides
    nothing: the provider itself refuses an unknown voice, at no cost.
    """
    if not steps:
        return ()
    catalogue = await get_catalogue(services, user_id)
    named = [
        (step, provider, voice) for step in steps for provider, voice in _named(catalogue, step)
    ]
    accounts = await _accounts(services, user_id, {provider for _, provider, _ in named})
    is_known = await asyncio.gather(
        *(_is_known(accounts[provider], voice) for _, provider, voice in named)
    )
    return tuple(
        step.error(VOICE, f"must be the id of a voice of the account at {provider}, not {voice!r}")
        for (step, provider, voice), known in zip(named, is_known, strict=True)
        if not known
    )


def _named(catalogue: Providers, step: StepRequest) -> Iterator[tuple[str, str]]:
    """Yield the providers with voices of an account that the step may use, each with its voice."""
    voice = step.parameters.values.get(VOICE)
    if not isinstance(voice, str):
        return
    offers = [
        catalogue.default_model(StepKind.AUDIO)
        if model_id is None
        else catalogue.find_model(model_id, step.provider)
        for model_id in step.tried
    ]
    providers = {offer[0].name: offer[0] for offer in offers if offer is not None}
    for name, provider in providers.items():
        if isinstance(provider, HasVoices):
            yield name, voice


async def _accounts(
    services: OrderingServices, user_id: UserId, names: Collection[str]
) -> Mapping[str, object]:
    """Return an adapter for the account at each provider; None where no key can be used."""
    if not names:
        return {}
    async with services.database.reading_as(user_id) as conn:
        own = await list_current(conn, user_id)
        return {
            name: await services.keys.open(conn, services.providers, name, own.get(name))
            for name in names
        }


async def _is_known(account: object, voice: str) -> bool:
    if not isinstance(account, HasVoices):
        return True
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await account.has_voice(voice)
    except (TimeoutError, ProviderUnavailableError):
        return True
