"""Every provider, by name. A new one is a file in vendors/, a line in _OFFERS, and its recordings."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from contracts.plans import StepKind
from providers.http import ProviderHttp
from providers.port import Model, Provider
from providers.pricing import for_sale
from providers.vendors.fal import FalProvider
from providers.vendors.replicate import ReplicateProvider
from runtime.settings import ProviderSettings

Clock = Callable[[], float]


def _fal(settings: ProviderSettings, http: ProviderHttp, now: Clock) -> Provider | None:
    if settings.fal_key is None:
        return None
    return FalProvider(
        http,
        key=settings.fal_key.get_secret_value(),
        queue_url=settings.fal_queue_url,
        api_url=settings.fal_api_url,
        jwks_url=settings.fal_jwks_url,
        start_seconds={
            StepKind.VIDEO: settings.fal_start_deadline_seconds,
            StepKind.IMAGE: settings.fal_image_start_deadline_seconds,
        },
        horizon_seconds={
            StepKind.VIDEO: settings.fal_horizon_seconds,
            StepKind.IMAGE: settings.fal_image_horizon_seconds,
        },
        now=now,
    )


def _replicate(settings: ProviderSettings, http: ProviderHttp, now: Clock) -> Provider | None:
    if settings.replicate_api_token is None:
        return None
    secret = settings.replicate_webhook_secret
    return ReplicateProvider(
        http,
        token=settings.replicate_api_token.get_secret_value(),
        base_url=settings.replicate_base_url,
        webhook_secret=None if secret is None else secret.get_secret_value(),
        deadline_seconds=settings.replicate_deadline_seconds,
        horizon_seconds=settings.replicate_horizon_seconds,
        now=now,
    )


@dataclass(frozen=True, slots=True)
class _Offer:
    """make: None where its key is not set. address: of its API, which tells whether it could reach us."""

    make: Callable[[ProviderSettings, ProviderHttp, Clock], Provider | None]
    address: Callable[[ProviderSettings], str]
    pace: Callable[[ProviderSettings], "Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """What we may ask of a provider, over all workers. submits_per_second: None: no limit."""

    max_in_flight: int
    submits_per_second: float | None


_OFFERS: Final[Mapping[str, _Offer]] = {
    "fal": _Offer(
        _fal,
        lambda settings: settings.fal_queue_url,
        lambda settings: Pace(settings.fal_max_in_flight, settings.fal_submits_per_second or None),
    ),
    "replicate": _Offer(
        _replicate,
        lambda settings: settings.replicate_base_url,
        lambda settings: Pace(settings.replicate_max_in_flight, settings.replicate_submits_per_second or None),
    ),
}

# The models that a plan uses where its user names none; the first that is on offer. Others come after them.
_DEFAULTS: Final[Mapping[StepKind, Sequence[str]]] = {
    StepKind.IMAGE: ("fal-ai/flux/schnell", "black-forest-labs/flux-schnell"),
    StepKind.VIDEO: ("bytedance/seedance-1-pro", "fal-ai/bytedance/seedance/v1/pro/image-to-video"),
}

PROVIDER_NAMES: Final = tuple(_OFFERS)
"""All that could be offered, whether or not their keys are set: for labels and queues that must not depend on keys."""


class Providers:
    """The providers on offer: those whose key is set."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._providers = {provider.name: provider for provider in providers}

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: ProviderSettings, *, now: Clock = time.time) -> "AsyncGenerator[Providers]":
        """Owns the HTTP clients of all providers. Nothing connects before the first call. now: unix seconds.

        Raises ValueError for a key that cannot be one.
        """
        async with ProviderHttp() as http:
            made = [offer.make(settings, http, now) for offer in _OFFERS.values()]
            yield cls([provider for provider in made if provider is not None])

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._providers)

    def provider(self, name: str) -> Provider:
        """Raises KeyError for a provider that is not on offer (any more)."""
        return self._providers[name]

    def find_model(self, model_id: str, provider: str | None = None) -> tuple[Provider, Model] | None:
        """Whether or not it is still sold: what was bought must be settled.

        provider: only of this one (a job's own), should two offer models of the same name.
        """
        return next((pair for pair in self._all() if pair[1].id == model_id and provider in (None, pair[0].name)), None)

    def models(self, kind: StepKind) -> tuple[tuple[Provider, Model], ...]:
        """The models of a kind that have a price, as far as they have one; the default first."""
        sold = [(provider, for_sale(model)) for provider, model in self._all() if model.kind is kind]
        order = {model_id: place for place, model_id in enumerate(_DEFAULTS[kind])}
        priced = [(provider, model) for provider, model in sold if model is not None]
        return tuple(sorted(priced, key=lambda pair: order.get(pair[1].id, len(order))))

    def default_model(self, kind: StepKind) -> tuple[Provider, Model] | None:
        """None if no provider on offer sells a model of this kind."""
        return next(iter(self.models(kind)), None)

    def _all(self) -> list[tuple[Provider, Model]]:
        return [(provider, model) for provider in self._providers.values() for model in provider.models]


def provider_address(settings: ProviderSettings, name: str) -> str:
    """Where a provider's API is; tells whether it could reach us with a callback."""
    return _OFFERS[name].address(settings)


def provider_pace(settings: ProviderSettings, name: str) -> Pace:
    return _OFFERS[name].pace(settings)
