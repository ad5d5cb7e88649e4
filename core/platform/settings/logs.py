"""Settings of logging."""

from typing import Literal

from pydantic import Field, field_validator

from core.platform.settings.base import Settings


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
