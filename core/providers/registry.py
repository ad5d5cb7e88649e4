"""The provider registry.

A new provider is a package in vendors/, an entry in _OFFERS, and recordings for the contract test.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from pydantic import SecretStr

from core.domain.plans import StepKind
from core.platform.settings.providers import ProviderSettings
from core.providers.http.transport import NoHttp, ProviderHttp
from core.providers.port import Model, Provider
from core.providers.pricing import sellable
from core.providers.vendors.fal.adapter import FalProvider
from core.providers.vendors.replicate.adapter import ReplicateProvider

Clock = Callable[[], float]
Keyed = Callable[[str, str], Provider]
PLACEHOLDER_KEY: Final = "none"
"""The key of adapters that only describe their models."""
READS_PER_MINUTE: Final = 2400


def _fal(settings: ProviderSettings, http: ProviderHttp, now: Clock, key: str) -> Provider:
    return FalProvider(
        http,
        key=key,
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


def _replicate(settings: ProviderSettings, http: ProviderHttp, now: Clock, key: str) -> Provider:
    # Each account signs with its own secret; the setting belongs to the service's account.
    token, secret = settings.replicate_api_token, settings.replicate_webhook_secret
    is_service_key = token is not None and token.get_secret_value() == key
    return ReplicateProvider(
        http,
        token=key,
        base_url=settings.replicate_base_url,
        webhook_secret=secret.get_secret_value() if secret is not None and is_service_key else None,
        deadline_seconds=settings.replicate_deadline_seconds,
        horizon_seconds=settings.replicate_horizon_seconds,
        now=now,
    )


@dataclass(frozen=True, slots=True)
class _Offer:
    """How one provider is created from settings.

    key: the service's own. address: the API's URL, which decides if callbacks can reach us.
    """

    make: Callable[[ProviderSettings, ProviderHttp, Clock, str], Provider]
    key: Callable[[ProviderSettings], SecretStr | None]
    address: Callable[[ProviderSettings], str]
    pace: Callable[[ProviderSettings], "Pace"]


@dataclass(frozen=True, slots=True)
class Pace:
    """The request limits of a provider over all workers. submits_per_second: None for no limit."""

    max_in_flight: int
    submits_per_second: float | None


_OFFERS: Final[Mapping[str, _Offer]] = {
    "fal": _Offer(
        _fal,
        lambda settings: settings.fal_key,
        lambda settings: settings.fal_queue_url,
        lambda settings: Pace(settings.fal_max_in_flight, settings.fal_submits_per_second or None),
    ),
    "replicate": _Offer(
        _replicate,
        lambda settings: settings.replicate_api_token,
        lambda settings: settings.replicate_base_url,
        lambda settings: Pace(
            settings.replicate_max_in_flight, settings.replicate_submits_per_second or None
        ),
    ),
}

# The preferred models of each kind: a plan without a model uses the first one on offer.
_DEFAULTS: Final[Mapping[StepKind, Sequence[str]]] = {
    StepKind.IMAGE: ("fal-ai/flux/schnell", "black-forest-labs/flux-schnell"),
    StepKind.VIDEO: ("bytedance/seedance-1-pro", "fal-ai/bytedance/seedance/v1/pro/image-to-video"),
}

PROVIDER_NAMES: Final = tuple(_OFFERS)
"""Every provider, with or without a configured key: queues and labels must not depend on keys."""


class Providers:
    """The providers on offer: those with a configured key.

    A user with a key of their own is also offered the others.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        without_key: Sequence[Provider] = (),
        keyed: Keyed | None = None,
        usual_seconds: Mapping[StepKind, int] | None = None,
        looks_apart_seconds: float = 60.0,
    ) -> None:
        """Group adapters by how they are offered.

        without_key: adapters that cannot send, offered only to users with their own key.
        keyed: makes an adapter from a name and a user's own key. looks_apart_seconds: between
        the two looks at a list that prove a send absent.
        """
        self._providers = {provider.name: provider for provider in providers}
        self._without_key = {provider.name: provider for provider in without_key}
        self._keyed = keyed
        self._usual_seconds = usual_seconds or {}
        self.looks_apart_seconds = looks_apart_seconds

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: ProviderSettings, *, now: Clock = time.time
    ) -> "AsyncGenerator[Providers]":
        """Open the HTTP clients of all providers. Nothing connects before the first call.

        now: unix seconds. Raises ValueError for a malformed key.
        """
        keys = {name: offer.key(settings) for name, offer in _OFFERS.items()}
        async with ProviderHttp() as http:
            yield cls(
                [
                    _OFFERS[name].make(settings, http, now, key.get_secret_value())
                    for name, key in keys.items()
                    if key is not None
                ],
                without_key=[
                    _OFFERS[name].make(settings, NoHttp(), now, PLACEHOLDER_KEY)
                    for name, key in keys.items()
                    if key is None
                ],
                keyed=lambda name, key: _OFFERS[name].make(settings, http, now, key),
                usual_seconds=_usual_seconds(settings),
                looks_apart_seconds=settings.lookup_confirm_seconds,
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._providers)

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names including those offered only to users with their own keys."""
        return (*self._providers, *self._without_key)

    def provider(self, name: str) -> Provider:
        """Return the adapter with the service's key.

        Raises KeyError for a provider that is not on offer (any more).
        """
        return self._providers[name]

    def keyed(self, name: str, key: str) -> Provider:
        """Return an adapter with a user's own key, whether or not the service has one.

        The caller should keep the adapter, because it caches what it fetches with the key.
        Raises KeyError for an unknown provider, ValueError for a malformed key.
        """
        if self._keyed is None:
            raise KeyError(name)
        return self._keyed(name, key)

    def known(self, name: str) -> Provider | None:
        """Return an adapter that describes models, prices and requests, or None if unknown.

        It may have no key, so it must not be used to call the provider.
        """
        return self._providers.get(name) or self._without_key.get(name)

    def for_user(self, own: Collection[str]) -> "Providers":
        """Return what is on offer to a user with own keys at these providers.

        The added adapters only describe, like those of `known`.
        """
        more = [provider for name, provider in self._without_key.items() if name in own]
        if not more:
            return self
        return Providers([*self._providers.values(), *more], usual_seconds=self._usual_seconds)

    @property
    def all_on_offer(self) -> bool:
        """Whether every provider is on offer, so that a user's own key would add none."""
        return not self._without_key

    def find_model(
        self, model_id: str, provider: str | None = None
    ) -> tuple[Provider, Model] | None:
        """Return a model and its provider, also if it is no longer sold: old jobs must settle.

        provider: restricts the search, in case two providers have models of the same name.
        """
        return next(
            (
                pair
                for pair in self._all()
                if pair[1].id == model_id and provider in (None, pair[0].name)
            ),
            None,
        )

    def models(self, kind: StepKind) -> tuple[tuple[Provider, Model], ...]:
        """Return the models of a kind, restricted to what has a price; the default comes first."""
        sold = [
            (provider, sellable(model)) for provider, model in self._all() if model.kind is kind
        ]
        order = {model_id: rank for rank, model_id in enumerate(_DEFAULTS[kind])}
        priced = [(provider, model) for provider, model in sold if model is not None]
        return tuple(sorted(priced, key=lambda pair: order.get(pair[1].id, len(order))))

    def default_model(self, kind: StepKind) -> tuple[Provider, Model] | None:
        """Return the preferred model of a kind, or None if no provider on offer sells one."""
        return next(iter(self.models(kind)), None)

    def _all(self) -> list[tuple[Provider, Model]]:
        return [
            (provider, self._with_usual_seconds(model))
            for provider in self._providers.values()
            for model in provider.models
        ]

    def _with_usual_seconds(self, model: Model) -> Model:
        seconds = self._usual_seconds.get(model.kind)
        return model if seconds is None else replace(model, usual_seconds=seconds)


def _usual_seconds(settings: ProviderSettings) -> dict[StepKind, int]:
    configured = {
        StepKind.IMAGE: settings.usual_image_seconds,
        StepKind.VIDEO: settings.usual_video_seconds,
    }
    return {kind: seconds for kind, seconds in configured.items() if seconds is not None}


def provider_address(settings: ProviderSettings, name: str) -> str:
    """Return the URL of a provider's API, which decides if its callbacks can reach us."""
    return _OFFERS[name].address(settings)


def reads_per_minute(names: Iterable[str]) -> dict[str, int]:
    """Return how many reads a minute each key of a provider may make, over all workers.

    Status reads, pages of lists, cancels and reads of files' addresses count. Replicate allows
    3,000 requests a minute besides creates; a fifth is left for bursts. fal publishes no limit.
    """
    return dict.fromkeys(names, READS_PER_MINUTE)


def provider_pace(settings: ProviderSettings, name: str) -> Pace:
    return _OFFERS[name].pace(settings)
