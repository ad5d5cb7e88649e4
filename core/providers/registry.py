"""Every provider, by name. A new one is a file in vendors/, a line in _OFFERS, and
its recordings.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from pydantic import SecretStr

from core.domain.plans import StepKind
from core.platform.settings.processes import ProviderSettings
from core.providers.http import NoHttp, ProviderHttp
from core.providers.port import Model, Provider
from core.providers.pricing import for_sale
from core.providers.vendors.fal.adapter import FalProvider
from core.providers.vendors.replicate.adapter import ReplicateProvider

Clock = Callable[[], float]
Keyed = Callable[[str, str], Provider]
NOBODYS_KEY: Final = "none"
"""Of adapters that are only asked what they offer."""


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
    # Every account signs with a secret of its own: the setting is that of the service's account.
    services, secret = settings.replicate_api_token, settings.replicate_webhook_secret
    is_services = services is not None and services.get_secret_value() == key
    return ReplicateProvider(
        http,
        token=key,
        base_url=settings.replicate_base_url,
        webhook_secret=secret.get_secret_value() if secret is not None and is_services else None,
        deadline_seconds=settings.replicate_deadline_seconds,
        horizon_seconds=settings.replicate_horizon_seconds,
        now=now,
    )


@dataclass(frozen=True, slots=True)
class _Offer:
    """key: the service's own. address: of its API, which tells whether it could reach us."""

    make: Callable[[ProviderSettings, ProviderHttp, Clock, str], Provider]
    key: Callable[[ProviderSettings], SecretStr | None]
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

# The models that a plan uses where its user names none; the first that is on offer. Others come
# after them.
_DEFAULTS: Final[Mapping[StepKind, Sequence[str]]] = {
    StepKind.IMAGE: ("fal-ai/flux/schnell", "black-forest-labs/flux-schnell"),
    StepKind.VIDEO: ("bytedance/seedance-1-pro", "fal-ai/bytedance/seedance/v1/pro/image-to-video"),
}

PROVIDER_NAMES: Final = tuple(_OFFERS)
"""All that could be offered, whether or not their keys are set: for labels and queues that must not
depend on keys.
"""


class Providers:
    """The providers on offer: those whose key is set. With a key of their own, users are offered
    the others, too.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        without_key: Sequence[Provider] = (),
        keyed: Keyed | None = None,
        usual_seconds: Mapping[StepKind, int] | None = None,
    ) -> None:
        """without_key: what is offered only with a key of one's own; adapters that can send
        nothing.

        keyed: makes an adapter of a name and a user's own key.
        """
        self._providers = {provider.name: provider for provider in providers}
        self._without_key = {provider.name: provider for provider in without_key}
        self._keyed = keyed
        self._usual_seconds = usual_seconds or {}

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: ProviderSettings, *, now: Clock = time.time
    ) -> "AsyncGenerator[Providers]":
        """Owns the HTTP clients of all providers. Nothing connects before the first call. now: unix
        seconds.

        Raises ValueError for a key that cannot be one.
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
                    _OFFERS[name].make(settings, NoHttp(), now, NOBODYS_KEY)
                    for name, key in keys.items()
                    if key is None
                ],
                keyed=lambda name, key: _OFFERS[name].make(settings, http, now, key),
                usual_seconds=_usual_seconds(settings),
            )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._providers)

    @property
    def known_names(self) -> tuple[str, ...]:
        """Also those that only users with keys of their own are offered."""
        return (*self._providers, *self._without_key)

    def provider(self, name: str) -> Provider:
        """With the service's key. Raises KeyError for a provider that is not on offer
        (any more).
        """
        return self._providers[name]

    def keyed(self, name: str, key: str) -> Provider:
        """With a user's own key, whether or not the service has one. The caller keeps it: some ask
        for more with it.

        Raises KeyError: no such provider; ValueError: this cannot be a key.
        """
        if self._keyed is None:
            raise KeyError(name)
        return self._keyed(name, key)

    def known(self, name: str) -> Provider | None:
        """To ask what it offers, what that costs, how it is asked for; not to ask it anything: that
        may have no key.

        None: no provider that this version knows.
        """
        return self._providers.get(name) or self._without_key.get(name)

    def for_user(self, own: Collection[str]) -> "Providers":
        """What is on offer to a user who has keys of their own at these; to be asked
        like `known`.
        """
        more = [provider for name, provider in self._without_key.items() if name in own]
        if not more:
            return self
        return Providers([*self._providers.values(), *more], usual_seconds=self._usual_seconds)

    @property
    def all_on_offer(self) -> bool:
        """Whether a key of their own would offer a user nothing more."""
        return not self._without_key

    def find_model(
        self, model_id: str, provider: str | None = None
    ) -> tuple[Provider, Model] | None:
        """Whether or not it is still sold: what was bought must be settled.

        provider: only of this one (a job's own), should two offer models of the same name.
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
        """The models of a kind that have a price, as far as they have one; the default first."""
        sold = [
            (provider, for_sale(model)) for provider, model in self._all() if model.kind is kind
        ]
        order = {model_id: place for place, model_id in enumerate(_DEFAULTS[kind])}
        priced = [(provider, model) for provider, model in sold if model is not None]
        return tuple(sorted(priced, key=lambda pair: order.get(pair[1].id, len(order))))

    def default_model(self, kind: StepKind) -> tuple[Provider, Model] | None:
        """None if no provider on offer sells a model of this kind."""
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
    """Where a provider's API is; tells whether it could reach us with a callback."""
    return _OFFERS[name].address(settings)


def provider_pace(settings: ProviderSettings, name: str) -> Pace:
    return _OFFERS[name].pace(settings)
