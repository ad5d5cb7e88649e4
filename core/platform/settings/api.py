"""Settings of the API process, of its public address, and of the limits per user."""

from typing import Annotated, Final

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from core.platform.settings.base import Days, Port, Requests, Settings, Url, split_commas
from core.platform.urls import url_host_port

QUEUE_LIMIT_SECONDS: Final = 86_400


class PublicAddressSettings(Settings):
    """The API's address, which links and callback URLs contain."""

    api_host: str = Field(default="127.0.0.1", description="address the API listens on")
    api_port: Port = Field(default=8080, description="port the API listens on")
    public_url: Url | None = Field(
        default=None,
        description="address at which clients reach the API; default: http://API_HOST:API_PORT",
    )

    @property
    def public_base_url(self) -> str:
        """PUBLIC_URL or its default, without a trailing slash."""
        return self.public_url or f"http://{url_host_port(self.api_host, self.api_port)}"


class ApiSettings(PublicAddressSettings):
    """The API's listeners and the rate limits of API keys and users."""

    metrics_host: str = Field(default="127.0.0.1", description="address of the metrics listeners")
    metrics_port: Port = Field(default=9101, description="port of /metrics; 0: none")
    rate_limit_writes: Requests = Field(
        default=100,
        description="changing requests of one API key per window; 0: no limit",
    )
    rate_limit_reads: Requests = Field(
        default=3000,
        description="reading requests of one API key per window; 0: no limit",
    )
    rate_limit_window_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=900, description="time in which a whole limit becomes available again"
    )
    rate_limit_user_factor: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=5,
        description="all keys and tokens of a user together may send this multiple of a key's limit",
    )


class ServerSettings(Settings):
    """Limits of the API's HTTP server."""

    streams_per_key: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=20, description="open event streams of one API key in one API process"
    )
    streams_per_user: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=100, description="open event streams of one user in one API process"
    )
    streams_per_process: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=2000,
        description="open event streams of one API process; keep it below API_MAX_CONNECTIONS",
    )

    api_max_connections: Annotated[int, Field(ge=16, le=100_000)] = Field(
        default=4096,
        description="connections and requests of one API process at once; requests beyond get a 503",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_commas)] = Field(
        default=(),
        description="comma-separated origins of pages that may call the API from a browser; default: none",
    )


def split_pairs(value: object) -> object:
    """Split comma-separated NAME=VALUE into pairs; other values pass unchanged."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in value.split(",") if part.strip()]
    named = {name.strip(): other.strip() for name, _, other in pairs}
    if len(named) != len(pairs) or not all(named) or not all(named.values()):
        raise ValueError("must be NAME=MODEL,NAME=MODEL with different names")
    return tuple(named.items())


class OpenAISettings(Settings):
    """What clients of OpenAI find on /v1."""

    openai_model_aliases: Annotated[
        tuple[tuple[str, str], ...], NoDecode, BeforeValidator(split_pairs)
    ] = Field(
        default=(),
        description="other names of video models on /v1, as NAME=MODEL,NAME=MODEL; answers have the MODEL; "
        "default: none",
        examples=["sora-2=MODEL"],
    )


class FileRetentionSettings(Settings):
    """How many days files are kept. The same for API and worker: /v1 shows it as `expires_at`."""

    retention_days_executions: Days = Field(
        default=None,
        description="days from its end after which an execution is deleted as by DELETE; default: kept",
    )
    retention_days_files: Days = Field(
        default=None,
        description="days from the end of its execution after which a file is deleted; default: kept",
    )

    @property
    def files_kept_days(self) -> int | None:
        """Days from the end of an execution after which its files are deleted. None: never."""
        days = (self.retention_days_executions, self.retention_days_files)
        return min((each for each in days if each is not None), default=None)


class LimitSettings(Settings):
    """Concurrency limits of users without their own limit; the same for API and worker."""

    open_executions_per_user: Annotated[int, Field(ge=0)] = Field(
        default=10_000,
        description="maximum open executions per user; further requests are rejected",
    )
    running_executions_per_user: Annotated[int, Field(ge=1)] = Field(
        default=500,
        description="maximum running executions per user; further ones wait in the database",
    )
    media_seconds_per_user: Annotated[int, Field(ge=0)] = Field(
        default=360_000,
        description="processor seconds of media steps per user and calendar month (UTC); further requests with "
        "media steps are rejected",
    )
    queue_limit_seconds: Annotated[int, Field(ge=1, le=30 * 86_400)] = Field(
        default=QUEUE_LIMIT_SECONDS,
        description="how long an execution may wait for a slot before it fails; an order whose "
        "estimated wait exceeds half of it is refused",
    )
