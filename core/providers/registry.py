"""The provider registry.

A new provider is a package in vendors/, an entry in _OFFERS, and recordings for the contract test.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from pydantic import SecretStr

from core.domain.plans import StepKind
from core.platform.settings.providers import ProviderSettings
from core.platform.urls import reach
from core.providers.http.transport import NoHttp, ProviderHttp
from core.providers.models import Model
from core.providers.port import Provider
from core.providers.pricing import sellable
from core.providers.vendors.cog.adapter import CogProvider
from core.providers.vendors.cog.catalogue import load_models
from core.providers.vendors.elevenlabs.adapter import ElevenLabsProvider
from core.providers.vendors.fal.adapter import ByRunTime, FalProvider
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
        start_seconds=ByRunTime(
            quick=settings.fal_image_start_deadline_seconds,
            long=settings.fal_start_deadline_seconds,
        ),
        horizon_seconds=ByRunTime(
            quick=settings.fal_image_horizon_seconds, long=settings.fal_horizon_seconds
        ),
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


def _elevenlabs(settings: ProviderSettings, http: ProviderHttp, now: Clock, key: str) -> Provider:
    return ElevenLabsProvider(
        http,
        key=key,
        base_url=settings.elevenlabs_base_url,
        usd_per_credit=settings.elevenlabs_usd_per_credit,
        horizon_seconds=settings.elevenlabs_horizon_seconds,
        now=now,
    )


def _cog(settings: ProviderSettings, http: ProviderHttp, _now: Clock, key: str) -> Provider:
    file = settings.cog_models_file
    return CogProvider(
        http,
        served=load_models(file) if file is not None else (),
        callback_token=key,
        lost_seconds=settings.cog_lost_seconds,
    )


def _cog_address(settings: ProviderSettings) -> str:
    """Return the address of the most remote server: callbacks of all have to arrive."""
    file = settings.cog_models_file
    urls = [model.url for model in load_models(file)] if file is not None else []
    return max(urls, key=lambda url: _DISTANCES.index(reach(url)), default="http://localhost")


_DISTANCES: Final = ("loopback", "private", "public")


@dataclass(frozen=True, slots=True)
class _Offer:
    """How one provider is created from settings.

    key: the service's own. address: the API's URL, which decides if callbacks can reach us.
    calls_back: whether the provider sends callbacks.
    takes_own_keys: users can have keys of their own. needs_callbacks: results arrive only by them.
    """

    make: Callable[[ProviderSettings, ProviderHttp, Clock, str], Provider]
    key: Callable[[ProviderSettings], SecretStr | None]
    address: Callable[[ProviderSettings], str]
    pace: Callable[[ProviderSettings], "Pace"]
    calls_back: bool = True
    takes_own_keys: bool = True
    needs_callbacks: bool = False


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
    "elevenlabs": _Offer(
        _elevenlabs,
        lambda settings: settings.elevenlabs_api_key,
        lambda settings: settings.elevenlabs_base_url,
        lambda settings: Pace(
            settings.elevenlabs_max_in_flight, settings.elevenlabs_submits_per_second or None
        ),
        calls_back=False,
    ),
    "cog": _Offer(
        _cog,
        lambda settings: settings.cog_webhook_token if settings.cog_models_file else None,
        _cog_address,
        lambda settings: Pace(settings.cog_max_in_flight, None),
        takes_own_keys=False,
        needs_callbacks=True,
    ),
}

# The preferred models of each kind: a plan without a model uses the first one on offer.
_DEFAULTS: Final[Mapping[StepKind, Sequence[str]]] = {
    StepKind.IMAGE: ("fal-ai/flux/schnell", "black-forest-labs/flux-schnell"),
    StepKind.VIDEO: ("bytedance/seedance-1-pro", "fal-ai/bytedance/seedance/v1/pro/image-to-video"),
    StepKind.AUDIO: ("fal-ai/elevenlabs/tts/turbo-v2.5", "minimax/speech-2.6-turbo"),
    StepKind.TRANSCRIPT: ("fal-ai/elevenlabs/speech-to-text/scribe-v2",),
    StepKind.CUTOUT: ("fal-ai/bria/background/remove", "bria/remove-background"),
    StepKind.LIP_SYNC: ("fal-ai/sync-lipsync/v2", "sync/lipsync-2-pro"),
    StepKind.TALKING_HEAD: ("veed/fabric-1.0", "kwaivgi/kling-avatar-v2"),
    StepKind.UPSCALE: ("fal-ai/seedvr/upscale/image", "recraft-ai/recraft-crisp-upscale"),
}

_OTHER_NAMES: Final[Mapping[str, tuple[str, str]]] = {
    "elevenlabs/turbo-v2.5": ("elevenlabs", "eleven_turbo_v2_5"),
}
"""A model's provider and its own name, by the name that another service has for it."""

PROVIDER_NAMES: Final = tuple(_OFFERS)
"""Every provider, with or without a configured key: queues and labels must not depend on keys."""
OWN_KEY_PROVIDERS: Final = tuple(name for name, offer in _OFFERS.items() if offer.takes_own_keys)
"""The providers at which users can have keys of their own."""


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
        usual_seconds: Mapping[bool, int] | None = None,
        looks_apart_seconds: float = 60.0,
    ) -> None:
        """Group adapters by how they are offered.

        without_key: adapters that cannot send, offered only to users with their own key.
        usual_seconds: of quick models and of the others, instead of the models' own.
        keyed: makes an adapter from a name and a user's own key. looks_apart_seconds: between
        the two looks at a list that prove a send absent.
        """
        self._providers = {provider.name: provider for provider in providers}
        self._without_key = {provider.name: provider for provider in without_key}
        self._keyed = keyed
        self._usual_seconds = usual_seconds or {}
        self._for_users: dict[frozenset[str], Providers] = {}
        self.looks_apart_seconds = looks_apart_seconds

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: ProviderSettings,
        *,
        now: Clock = time.time,
        transport: ProviderHttp | None = None,
    ) -> "AsyncGenerator[Providers]":
        """Open the HTTP clients of all providers. Nothing connects before the first call.

        now: unix seconds. transport: instead of a new one. Raises ValueError for a malformed key.
        """
        keys = {name: offer.key(settings) for name, offer in _OFFERS.items()}
        async with transport or ProviderHttp() as http:
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
        names = frozenset(self._without_key).intersection(own)
        if not names:
            return self
        if names not in self._for_users:  # adapters that only describe never change
            more = [provider for name, provider in self._without_key.items() if name in names]
            self._for_users[names] = Providers(
                [*self._providers.values(), *more], usual_seconds=self._usual_seconds
            )
        return self._for_users[names]

    @property
    def all_on_offer(self) -> bool:
        """Whether all models are on offer, so that a user's own key would add none."""
        return not any(provider.models for provider in self._without_key.values())

    def find_model(
        self, model_id: str, provider: str | None = None
    ) -> tuple[Provider, Model] | None:
        """Return a model and its provider, also if it is no longer sold: old jobs must settle.

        provider: restricts the search, in case two providers have models of the same name.
        """
        return next(
            (
                pair
                for pair in self._all
                if pair[1].id == model_id and provider in (None, pair[0].name)
            ),
            None,
        )

    def models(self, kind: StepKind) -> tuple[tuple[Provider, Model], ...]:
        """Return the models of a kind, restricted to what has a price; the default comes first."""
        return self._sold.get(kind, ())

    def default_model(self, kind: StepKind) -> tuple[Provider, Model] | None:
        """Return the preferred model of a kind, or None if no provider on offer sells one."""
        return next(iter(self.models(kind)), None)

    @cached_property
    def _all(self) -> tuple[tuple[Provider, Model], ...]:
        return tuple(
            (provider, self._with_usual_seconds(model))
            for provider in self._providers.values()
            for model in provider.models
        )

    @cached_property
    def _sold(self) -> Mapping[StepKind, tuple[tuple[Provider, Model], ...]]:
        sold = [
            (provider, model)
            for provider, offered in self._all
            if (model := sellable(offered)) is not None
        ]
        return {kind: _default_first(kind, sold) for kind in StepKind}

    def _with_usual_seconds(self, model: Model) -> Model:
        seconds = self._usual_seconds.get(model.quick)
        return model if seconds is None else replace(model, usual_seconds=seconds)


def own_name(model_id: str, provider: str | None) -> str:
    """Return the provider's name for a model that another service names differently."""
    owner, name = _OTHER_NAMES.get(model_id, (None, model_id))
    return name if provider in (None, owner) else model_id


def _default_first(
    kind: StepKind, sold: Iterable[tuple[Provider, Model]]
) -> tuple[tuple[Provider, Model], ...]:
    order = {model_id: rank for rank, model_id in enumerate(_DEFAULTS.get(kind, ()))}
    of_kind = [pair for pair in sold if pair[1].kind is kind]
    return tuple(sorted(of_kind, key=lambda pair: order.get(pair[1].id, len(order))))


def _usual_seconds(settings: ProviderSettings) -> dict[bool, int]:
    """Return the configured usual durations by Model.quick."""
    configured = {True: settings.usual_image_seconds, False: settings.usual_video_seconds}
    return {quick: seconds for quick, seconds in configured.items() if seconds is not None}


def provider_address(settings: ProviderSettings, name: str) -> str:
    """Return the URL of a provider's API, which decides if its callbacks can reach us."""
    return _OFFERS[name].address(settings)


def calls_back(name: str) -> bool:
    """Return whether a provider sends callbacks at all."""
    return _OFFERS[name].calls_back


def needs_callbacks(settings: ProviderSettings, name: str) -> bool:
    """Return whether a provider is on offer whose results arrive only by callback."""
    offer = _OFFERS[name]
    return offer.needs_callbacks and offer.key(settings) is not None


def reads_per_minute(names: Iterable[str]) -> dict[str, int]:
    """Return how many reads a minute each key of a provider may make, over all workers.

    Status reads, pages of lists, cancels and reads of files' addresses count. Replicate allows
    3,000 requests a minute besides creates; a fifth is left for bursts. fal publishes no limit.
    """
    return dict.fromkeys(names, READS_PER_MINUTE)


def provider_pace(settings: ProviderSettings, name: str) -> Pace:
    return _OFFERS[name].pace(settings)
