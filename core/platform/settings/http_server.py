"""Settings of the API's HTTP server."""

from typing import Annotated

from pydantic import Field

from core.platform.settings.base import Settings


class ServerSettings(Settings):
    """How many connections it keeps."""

    api_max_connections: Annotated[int, Field(ge=16, le=100_000)] = Field(
        default=4096,
        description="connections one API process keeps at most; beyond, those idle longest are closed",
    )
