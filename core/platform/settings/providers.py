"""Settings of the providers: keys, addresses, deadlines, horizons, and request limits."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from core.platform.crypto.webhook_signatures import SECRET_PREFIX, standard_webhooks_key
from core.platform.settings.base import Horizon, InFlight, PerSecond, Settings, Url
from core.platform.urls import reach

# Replicate lists a prediction's input for one hour, so a look-up must end earlier.
REPLICATE_INPUT_LIFE_SECONDS = 3600
SHORTEST_HORIZON_SECONDS = 21
"""More than the limit of a send (5 s) and the kernel's retransmission of its bytes (15 s) together.

Until then the provider may still receive a request. Only a provider on this machine, where nothing
is retransmitted, may have a shorter horizon.
"""
LOOKUP_CONFIRM_SECONDS = 60
"""Between the two looks at a list that prove a send absent; shorter on this machine only."""
_HEADER_TEXT = re.compile(r"[!-~]+")


class ProviderSettings(Settings):
    """The providers; one without a key or models is not offered, and at least one is required.

    Horizon: how long after a create request with an unknown outcome its absence from the provider's
    list proves that it was not accepted (start deadline + longest run + list lag). Too short a
    horizon buys twice; too long a horizon only waits.
    """

    fal_key: SecretStr | None = Field(
        default=None, description="fal API key; without it, fal is not offered"
    )
    fal_queue_url: Url = Field(
        default="https://queue.fal.run", description="address of fal's queue API"
    )
    fal_api_url: Url = Field(
        default="https://api.fal.ai/v1",
        description="address of fal's platform API (request history, prices)",
    )
    fal_jwks_url: Url = Field(
        default="https://rest.fal.ai/.well-known/jwks.json",
        description="address of the public keys that verify fal's callbacks",
    )
    fal_start_deadline_seconds: Annotated[int, Field(ge=1)] = Field(
        default=300,
        description="time after which fal drops a video or another long job that has not started; nothing is billed",
    )
    fal_image_start_deadline_seconds: Annotated[int, Field(ge=1)] = Field(
        default=60,
        description="time after which fal drops an image or another quick job that has not started; nothing is billed",
    )
    # fal's history reliably shows a request only after its end, and lagged by minutes in incidents.
    fal_horizon_seconds: Horizon = Field(
        default=2700,
        description="horizon of a long fal job, as a video: start deadline 300 + longest run 1500 + history lag 900",
    )
    fal_image_horizon_seconds: Horizon = Field(
        default=1080,
        description="horizon of a quick fal job, as an image: start deadline 60 + longest run 120 + history lag 900",
    )
    # fal drops what waits in its queue longer than the start deadline, so excess jobs wait here.
    fal_max_in_flight: InFlight = Field(
        default=100,
        description="concurrent fal jobs over all workers; best set to your account's concurrency",
    )
    fal_submits_per_second: PerSecond = Field(
        default=10,
        description="fal create calls and cancels per second over all workers; 0: no limit",
    )

    # For providers that are faster or slower than the catalogue's figures, such as the sandbox.
    usual_image_seconds: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="usual duration of an image or another quick job, instead of the model's; for progress and polling",
    )
    usual_video_seconds: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="usual duration of a video or another long job, instead of each model's",
    )

    # Models of the operator's own. Declared before the Replicate token, whose validator sees them.
    cog_models_file: Path | None = Field(
        default=None,
        description="TOML file of your own models on Cog servers; without it, none are offered",
    )
    cog_webhook_token: SecretStr | None = Field(
        default=None,
        description="WEBHOOK_AUTH_TOKEN of your Cog servers, which their callbacks carry",
        validate_default=True,
    )
    cog_lost_seconds: Horizon = Field(
        default=60,
        description="time after which a prediction without a callback, which its Cog server no longer "
        "runs, counts as lost and is run again",
    )
    cog_max_in_flight: InFlight = Field(
        default=10,
        description="concurrent predictions on all Cog servers; best set to the number of their slots",
    )

    elevenlabs_api_key: SecretStr | None = Field(
        default=None, description="ElevenLabs API key; without it, ElevenLabs is not offered"
    )
    elevenlabs_base_url: Url = Field(
        default="https://api.elevenlabs.io", description="address of ElevenLabs' API"
    )
    elevenlabs_usd_per_credit: Annotated[Decimal, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="price of a credit in your ElevenLabs plan: the plan's price divided by its "
        "credits; default: speech is priced by the price list per character",
    )
    # A request is listed when its audio is complete; the list's lag is not documented.
    elevenlabs_horizon_seconds: Horizon = Field(
        default=240,
        description="look-up horizon of an ElevenLabs request: longest speech 120 + history lag 120",
    )
    # A job occupies the account's concurrency only while its answer arrives.
    elevenlabs_max_in_flight: InFlight = Field(
        default=5,
        description="concurrent ElevenLabs requests over all workers; at most your plan's concurrency",
    )
    elevenlabs_submits_per_second: PerSecond = Field(
        default=5, description="ElevenLabs create calls per second over all workers; 0: no limit"
    )

    # Declared after the other keys, so that its validator can see all of them.
    replicate_api_token: SecretStr | None = Field(
        default=None,
        description="Replicate API token; without it, Replicate is not offered",
        validate_default=True,
    )
    replicate_base_url: Url = Field(
        default="https://api.replicate.com", description="address of Replicate's API"
    )
    replicate_webhook_secret: SecretStr | None = Field(
        default=None,
        description="whsec_... secret that verifies Replicate's callbacks; default: read from Replicate with the token",
    )
    replicate_deadline_seconds: Annotated[int, Field(ge=5)] = Field(
        default=1800,
        description="time after which Replicate ends a prediction by itself (Cancel-After)",
    )
    # Replicate lists a prediction from its creation on, so neither queue nor run time counts. The
    # list's lag is not documented: usually a minute, five are allowed for.
    replicate_horizon_seconds: Annotated[Horizon, Field(lt=REPLICATE_INPUT_LIFE_SECONDS)] = Field(
        default=300,
        description="look-up horizon of a Replicate prediction: the list's lag, because running ones are listed",
    )
    replicate_max_in_flight: InFlight = Field(
        default=100, description="concurrent Replicate predictions over all workers"
    )
    # Replicate accepts 600 create calls per minute.
    replicate_submits_per_second: PerSecond = Field(
        default=10,
        description="Replicate create calls and cancels per second over all workers; 0: no limit",
    )

    # Declared last, so that its validator can see every address.
    lookup_confirm_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = Field(
        default=LOOKUP_CONFIRM_SECONDS,
        description="time between the two looks at a provider's list that prove a send absent",
        validate_default=True,
    )

    @field_validator("cog_webhook_token")
    @classmethod
    def _token_of_callbacks(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("cog_models_file") is not None:
            raise ValueError("not set, although COG_MODELS_FILE is set")
        return value

    @field_validator("fal_key", "elevenlabs_api_key", "replicate_api_token", "cog_webhook_token")
    @classmethod
    def _header_text(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _HEADER_TEXT.fullmatch(value.get_secret_value()):
            raise ValueError("has characters that a header cannot carry, for example a space")
        return value

    @field_validator("replicate_webhook_secret")
    @classmethod
    def _signing_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            secret = value.get_secret_value()
            if not secret.startswith(SECRET_PREFIX):
                raise ValueError("must be whsec_ followed by base64")
            standard_webhooks_key(secret)
        return value

    @field_validator("replicate_api_token")
    @classmethod
    def _one_provider(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        others = ("fal_key", "elevenlabs_api_key", "cog_models_file")
        if value is None and all(info.data.get(name) is None for name in others):
            raise ValueError(
                "not set, and neither FAL_KEY nor ELEVENLABS_API_KEY nor COG_MODELS_FILE is set: set "
                "at least one provider"
            )
        return value

    @field_validator(
        "fal_horizon_seconds",
        "fal_image_horizon_seconds",
        "replicate_horizon_seconds",
        "elevenlabs_horizon_seconds",
    )
    @classmethod
    def _past_delivery(cls, value: int, info: ValidationInfo) -> int:
        vendor = str(info.field_name).partition("_")[0]
        if value < SHORTEST_HORIZON_SECONDS and not _all_local(info, vendor):
            raise ValueError(
                f"must be at least {SHORTEST_HORIZON_SECONDS} unless the provider is on this "
                "machine, because a request may still arrive until then"
            )
        return value

    @field_validator("lookup_confirm_seconds")
    @classmethod
    def _apart(cls, value: float, info: ValidationInfo) -> float:
        if value < LOOKUP_CONFIRM_SECONDS and not _all_local(info, ""):
            raise ValueError(
                f"must be at least {LOOKUP_CONFIRM_SECONDS} unless every provider is on this machine"
            )
        return value

    @field_validator("fal_horizon_seconds", "fal_image_horizon_seconds")
    @classmethod
    def _past_the_start(cls, value: int, info: ValidationInfo) -> int:
        name = str(info.field_name).replace("horizon", "start_deadline")
        start_deadline: int = info.data.get(name, 0)
        if value <= start_deadline:
            raise ValueError(f"must be longer than {name.upper()} ({start_deadline})")
        return value


_ADDRESSES = ("fal_queue_url", "fal_api_url", "replicate_base_url", "elevenlabs_base_url")


def _all_local(info: ValidationInfo, vendor: str) -> bool:
    """Return whether the addresses of a vendor, or of all for "", are on this machine.

    Among all, ElevenLabs counts only with a key: its address has a default that is not local.
    """
    names = [name for name in _ADDRESSES if name.startswith(vendor)]
    if not vendor and info.data.get("elevenlabs_api_key") is None:
        names.remove("elevenlabs_base_url")
    return all(reach(info.data.get(name, "")) == "loopback" for name in names)
