"""The base class of all settings, shared field types, and the settings of logging."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.platform.urls import checked_url

ENV_FILE = ".env"
EXAMPLE_SECRET = "change-me"  # noqa: S105 - in each secret of .env.example

Url = Annotated[str, AfterValidator(checked_url)]
Port = Annotated[int, Field(ge=0, le=65535)]
# One second more than core.platform.temporal.policies.SEND_WITHIN_SECONDS: past a horizon, no byte
# of a send can leave any more.
Horizon = Annotated[int, Field(ge=6)]
Slots = Annotated[int, Field(ge=1, le=10_000)]
InFlight = Annotated[int, Field(ge=1, le=100_000)]
PerSecond = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]
Days = Annotated[int, Field(ge=1, le=36_500)] | None
Requests = Annotated[int, Field(ge=0, le=1_000_000)]


def split_commas(value: object) -> object:
    """Split comma-separated text into lower-case parts; other values pass unchanged."""
    if isinstance(value, str):
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())
    return value


class SettingError(ValueError):
    """A setting is invalid where it is used."""


class Settings(BaseSettings):
    """A group of settings; an empty variable counts as not set, and instances are immutable."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",  # the environment contains variables of other programs
        frozen=True,
        hide_input_in_errors=True,
    )

    @field_validator("*")
    @classmethod
    def _changed_example(cls, value: object) -> object:
        if isinstance(value, SecretStr) and EXAMPLE_SECRET in value.get_secret_value():
            raise ValueError("still has the value of .env.example; set a secret of your own")
        return value


class LogSettings(Settings):
    """Level and format of the process's log."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="lowest level that is logged"
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="json: one object per line; text: for a terminal"
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value
