"""Settings of the API's HTTP server."""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from core.platform.settings.base import Settings, split_commas


class ServerSettings(Settings):
    """Limits of the API's HTTP server."""

    api_max_connections: Annotated[int, Field(ge=16, le=100_000)] = Field(
        default=4096,
        description="connections and requests of one API process at once; requests beyond get a 503",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_commas)] = Field(
        default=(),
        description="origins of pages that may call the API from a browser, commas; default: none",
    )
