"""Settings of the web console and of what consoles link to."""

from pydantic import Field

from core.platform.settings.base import Settings, Url


class ConsoleSettings(Settings):
    """The pages under /console/."""

    console: bool = Field(default=True, description="serve the web console under /console/")


class TemporalUiSettings(Settings):
    """The Temporal Web UI, to which consoles link."""

    temporal_ui_url: Url | None = Field(
        default=None,
        description="address of the Temporal Web UI, to which the consoles link, in the web console for users with "
        "the scope admin; default: no links",
    )
