"""Settings: environment variables, or `.env` in the working directory. Only entry points load them
(`core.platform.settings.load`).

Each small class is what one part needs; a process is the classes of its parts, joined. A variable's
name is the field's name in capitals. Nothing is read when this module is imported.
"""

import base64
import binascii
import os
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, field_validator

from core.platform.settings.base import (
    ENV_FILE,
    Port,
    Requests,
    Settings,
    Slots,
    Url,
)
from core.platform.settings.egress import OutboundSettings as OutboundSettings
from core.platform.settings.http_server import ServerSettings as ServerSettings
from core.platform.settings.oidc import OidcSettings as OidcSettings
from core.platform.settings.payload_encryption import CodecSettings as CodecSettings
from core.platform.settings.payload_encryption import PayloadSettings as PayloadSettings
from core.platform.settings.providers import ProviderSettings as ProviderSettings
from core.platform.urls import callback_base_url as callback_base_url
from core.platform.urls import callback_note as callback_note
from core.platform.urls import url_host_port

ENCRYPTION_KEY_BYTES = 32


class LogSettings(Settings):
    """How the process logs."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="least severe level that is logged"
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="json: one object per line; text: for a person at a terminal"
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


class DatabaseSettings(Settings):
    """PostgreSQL."""

    database_url: SecretStr = Field(
        description="PostgreSQL, as the application role",
        examples=["postgresql://takeone_app:PASSWORD@localhost/takeone"],
    )
    database_owner_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL, as the owner of the tables, for migrations: another role than that of DATABASE_URL",
    )
    database_pool_size: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10, description="connections one process keeps at most"
    )

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value

    @property
    def owner_url(self) -> SecretStr:
        """The address for migrations."""
        return self.database_owner_url or self.database_url


class TemporalSettings(Settings):
    """Temporal. Empty fields are filled by the SDK's own environment configuration, see
    `core.platform.temporal.client.connect`.
    """

    temporal_address: str | None = Field(
        default=None,
        description="host:port of the Temporal frontend; default: the profile's, else localhost:7233",
    )
    temporal_namespace: str | None = Field(
        default=None, description="default: the profile's, else default"
    )
    temporal_api_key: SecretStr | None = Field(
        default=None, description="Temporal Cloud API key; switches TLS on"
    )
    temporal_config_file: str | None = Field(
        default=None,
        description="TOML file with connection profiles; this and every other variable of the SDK's environment "
        "configuration is honoured (TEMPORAL_PROFILE, TEMPORAL_TLS_*, TEMPORAL_GRPC_META_*)",
    )

    def sdk_environment(self) -> dict[str, str]:
        """Every TEMPORAL_* variable of `.env` and the environment; the environment wins, as for all
        settings.
        """
        merged = {**dotenv_values(ENV_FILE), **os.environ}
        return {
            name: value for name, value in merged.items() if name.startswith("TEMPORAL_") and value
        }


class StorageSettings(Settings):
    """Object storage: AWS S3, Cloudflare R2, or anything that speaks S3."""

    s3_endpoint_url: Url | None = Field(
        default=None, description="address of the S3 server; default: AWS"
    )
    s3_bucket: str = Field(
        description="bucket for the produced files", examples=["takeone-assets"], min_length=3
    )
    aws_access_key_id: str = Field(description="access key of the bucket", examples=["AKIA..."])
    aws_secret_access_key: SecretStr = Field(description="secret of the access key")
    aws_region: str = Field(default="us-east-1", description="region of the bucket; R2: auto")
    cdn_base_url: Url | None = Field(
        default=None,
        description="public address in front of the bucket; default: none, links are presigned and expire",
    )


class PublicAddressSettings(Settings):
    """Where the API is: for the API itself, and for whoever writes links and callback addresses to
    it.
    """

    api_host: str = Field(default="127.0.0.1", description="address the API listens on")
    api_port: Port = Field(default=8080, description="port the API listens on")
    public_url: Url | None = Field(
        default=None,
        description="address under which others reach the API; default: http://API_HOST:API_PORT",
    )

    @property
    def public_base_url(self) -> str:
        """PUBLIC_URL or its default, without a slash at the end."""
        return self.public_url or f"http://{url_host_port(self.api_host, self.api_port)}"


class ApiSettings(PublicAddressSettings):
    """The API's listeners, and how much one API key may ask of it."""

    metrics_host: str = Field(default="127.0.0.1", description="address the metrics listener is on")
    metrics_port: Port = Field(default=9101, description="port of /metrics; 0: none")
    rate_limit_writes: Requests = Field(
        default=100,
        description="requests of one API key in a window that start or change something; 0: no limit",
    )
    rate_limit_reads: Requests = Field(
        default=3000, description="requests of one API key in a window that only read; 0: no limit"
    )
    rate_limit_window_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=900,
        description="time in which a whole limit becomes available again",
    )
    rate_limit_user_factor: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=5,
        description="all keys and tokens of a user together may send this multiple of a key's limit",
    )


class WorkerSettings(PublicAddressSettings):
    """The worker's listeners, and how much it does at once (slots per task queue)."""

    metrics_host: str = Field(
        default="127.0.0.1", description="address both metrics listeners are on"
    )
    metrics_port: Port = Field(default=9102, description="port of /metrics; 0: none")
    sdk_metrics_port: Port = Field(
        default=9103, description="port of the Temporal SDK's own /metrics; 0: none"
    )
    execution_slots: Slots = Field(
        default=100, description="workflow tasks, and short database activities, at once"
    )
    submit_slots: Slots = Field(
        default=20, description="create requests and cancels per provider at once"
    )
    wait_slots: Slots = Field(
        default=2000,
        description="provider jobs waited for at once; a waiting job costs almost nothing",
    )
    asset_slots: Slots = Field(default=20, description="files stored at once; bounded by bandwidth")
    webhook_slots: Slots = Field(
        default=200, description="webhook attempts at once; a slow receiver holds one for 15 s"
    )


class LimitSettings(Settings):
    """What a user may have under way, without a limit of its own. API and worker must agree."""

    open_executions_per_user: Annotated[int, Field(ge=0)] = Field(
        default=10_000,
        description="executions of one user that have not ended, at most; more are refused",
    )
    running_executions_per_user: Annotated[int, Field(ge=1)] = Field(
        default=500,
        description="executions of one user that run at once, at most; more wait in the database",
    )


class SecuritySettings(Settings):
    """The keys."""

    encryption_keys: SecretStr = Field(
        description="base64 keys of 32 bytes, comma separated, newest first: seal secrets at rest, sign tokens",
        examples=["$(openssl rand -base64 32)"],
    )

    @field_validator("encryption_keys")
    @classmethod
    def _usable_keys(cls, value: SecretStr) -> SecretStr:
        _decode_keys(value.get_secret_value())
        return value

    def encryption_key_bytes(self) -> list[bytes]:
        """The keys, newest first, 32 bytes each."""
        return _decode_keys(self.encryption_keys.get_secret_value())


# The help text lists the last base first.
class ApiProcess(
    LogSettings,
    OutboundSettings,
    SecuritySettings,
    OidcSettings,
    ProviderSettings,
    StorageSettings,
    PayloadSettings,
    TemporalSettings,
    DatabaseSettings,
    LimitSettings,
    ServerSettings,
    ApiSettings,
):
    """`python -m api`."""


class WorkerProcess(
    LogSettings,
    OutboundSettings,
    SecuritySettings,
    ProviderSettings,
    StorageSettings,
    PayloadSettings,
    TemporalSettings,
    DatabaseSettings,
    LimitSettings,
    WorkerSettings,
):
    """`python worker.py`."""


class MigrateProcess(LogSettings, DatabaseSettings):
    """`python -m core.store.migrate`."""


class AdminProcess(LogSettings, SecuritySettings, DatabaseSettings):
    """`python -m cli`. What it did is in its result, so its log is quiet unless LOG_LEVEL
    is set.
    """


class CodecProcess(LogSettings, SecuritySettings, CodecSettings):
    """`python -m api.codec`."""


def _decode_keys(value: str) -> list[bytes]:
    parts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        keys = [base64.b64decode(part, validate=True) for part in parts]
    except binascii.Error:
        raise ValueError("not base64") from None
    if not keys or any(len(key) != ENCRYPTION_KEY_BYTES for key in keys):
        raise ValueError(f"each key must have {ENCRYPTION_KEY_BYTES} bytes after decoding")
    return keys
