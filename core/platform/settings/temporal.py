"""Settings of Temporal."""

import os

from dotenv import dotenv_values
from pydantic import Field, SecretStr

from core.platform.settings.base import ENV_FILE, Settings


class TemporalSettings(Settings):
    """The connection to Temporal.

    Empty fields come from the SDK's own environment configuration, see
    `core.platform.temporal.client.connect`.
    """

    temporal_address: str | None = Field(
        default=None,
        description="host:port of the Temporal frontend; default: from the profile, else localhost:7233",
    )
    temporal_namespace: str | None = Field(
        default=None, description="Temporal namespace; default: from the profile, else default"
    )
    temporal_api_key: SecretStr | None = Field(
        default=None, description="Temporal Cloud API key; enables TLS"
    )
    temporal_config_file: str | None = Field(
        default=None,
        description="TOML file with connection profiles; this and every other variable of the SDK's environment "
        "configuration is honoured (TEMPORAL_PROFILE, TEMPORAL_TLS_*, TEMPORAL_GRPC_META_*)",
    )

    def sdk_environment(self) -> dict[str, str]:
        """Return every TEMPORAL_* variable of `.env` and of the environment, which wins."""
        merged = {**dotenv_values(ENV_FILE), **os.environ}
        return {
            name: value for name, value in merged.items() if name.startswith("TEMPORAL_") and value
        }
