"""Settings of the API's HTTP server."""

from typing import Annotated

from pydantic import Field

from core.platform.settings.base import Settings


class ServerSettings(Settings):
    """Limits of the API's HTTP server."""

    api_max_connections: Annotated[int, Field(ge=16, le=100_000)] = Field(
        default=4096,
        description="connections and requests of one API process at once; requests beyond get a 503",
    )
