"""Settings of the web console."""

from pydantic import Field

from core.platform.settings.base import Settings, Url


class ConsoleSettings(Settings):
    """The pages under /console/, and what they link to."""

    console: bool = Field(default=True, description="serve the web console under /console/")
    temporal_ui_url: Url | None = Field(
        default=None,
        description="address of the Temporal Web UI, to which the console links for users with the scope admin; "
        "default: no links",
    )
