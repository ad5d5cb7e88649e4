"""The settings of the providers: keys, addresses, deadlines, horizons, and how much may be asked of
each.
"""

from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from core.platform.settings.base import Horizon, InFlight, PerSecond, Settings, Url

# Replicate shows a prediction's input in its list for one hour; a look-up must have ended before.
REPLICATE_INPUT_LIFE_SECONDS = 3600


class ProviderSettings(Settings):
    """The providers. One whose key is missing is not offered; at least one key is needed.

    Horizon: how long after a create request of unknown fate an authoritative list must have
    answered "not here" before that counts as never accepted (start deadline + longest run + list
    lag). Too short buys twice, too long only waits.
    """

    fal_key: SecretStr | None = Field(
        default=None, description="fal API key; without it fal is not offered"
    )
    fal_queue_url: Url = Field(default="https://queue.fal.run", description="fal queue")
    fal_api_url: Url = Field(
        default="https://api.fal.ai/v1", description="fal platform API: request history and prices"
    )
    fal_jwks_url: Url = Field(
        default="https://rest.fal.ai/.well-known/jwks.json",
        description="public keys that fal signs callbacks with",
    )
    fal_start_deadline_seconds: Annotated[int, Field(ge=1)] = Field(
        default=300,
        description="fal drops a video request that has not started by then (nothing is billed)",
    )
    fal_image_start_deadline_seconds: Annotated[int, Field(ge=1)] = Field(
        default=60,
        description="fal drops an image request that has not started by then (nothing is billed)",
    )
    # fal's history shows a request for certain only once it has ended, and has lagged by minutes in
    # incidents.
    fal_horizon_seconds: Horizon = Field(
        default=2700,
        description="horizon of a fal video: start deadline 300 + longest run 1500 + history lag 900",
    )
    fal_image_horizon_seconds: Horizon = Field(
        default=1080,
        description="horizon of a fal image: start deadline 60 + longest run 120 + history lag 900",
    )
    # What its queue would hold longer than the start deadline, fal drops: better it waits here.
    fal_max_in_flight: InFlight = Field(
        default=100,
        description="fal jobs at once, over all workers; best is what your account runs at once",
    )
    fal_submits_per_second: PerSecond = Field(
        default=10,
        description="fal create calls and cancels a second, over all workers; 0: no limit",
    )

    # For providers whose jobs take other times than the catalogue's, such as the sandbox.
    usual_image_seconds: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="how long an image usually takes, instead of each model's own figure;"
        " steers progress and polling",
    )
    usual_video_seconds: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="how long a video usually takes, instead of each model's own figure",
    )

    # The variable's check comes last of the two keys, so that it can see both.
    replicate_api_token: SecretStr | None = Field(
        default=None,
        description="Replicate API token; without it Replicate is not offered",
        validate_default=True,
    )
    replicate_base_url: Url = Field(
        default="https://api.replicate.com", description="Replicate API"
    )
    replicate_webhook_secret: SecretStr | None = Field(
        default=None,
        description="whsec_... that Replicate signs callbacks with; default: asked from Replicate with the token",
    )
    replicate_deadline_seconds: Annotated[int, Field(ge=5)] = Field(
        default=1800, description="Replicate ends a prediction by itself after this (Cancel-After)"
    )
    # Replicate lists a prediction from its creation on, so neither queue nor run time counts; its
    # list lag is not documented, a minute is usual, five are allowed.
    replicate_horizon_seconds: Annotated[Horizon, Field(lt=REPLICATE_INPUT_LIFE_SECONDS)] = Field(
        default=300,
        description="horizon of any Replicate prediction: list lag alone, running ones are listed",
    )
    replicate_max_in_flight: InFlight = Field(
        default=100, description="Replicate predictions at once, over all workers"
    )
    # Replicate takes 600 create calls a minute.
    replicate_submits_per_second: PerSecond = Field(
        default=10,
        description="Replicate create calls and cancels a second, over all workers; 0: no limit",
    )

    @field_validator("replicate_api_token")
    @classmethod
    def _one_provider(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and info.data.get("fal_key") is None:
            raise ValueError(
                "not set, and FAL_KEY is not set either: set the key of at least one provider"
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
