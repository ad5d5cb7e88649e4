"""Settings of Temporal."""

import os

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationInfo, field_validator

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


class WorkerVersionSettings(Settings):
    """The version of a worker in a Temporal Worker Deployment; without them, workers have none.

    The names are those that the Temporal Worker Controller sets.
    """

    temporal_deployment_name: str | None = Field(
        default=None,
        description="name of the Worker Deployment, equal for all its versions; set it together with "
        "TEMPORAL_WORKER_BUILD_ID",
        pattern=r"^[^\s.:]{1,255}$",
        examples=["takeone"],
    )
    temporal_worker_build_id: str | None = Field(
        default=None,
        description="version of this worker; executions end on the version that began them. Workers of a version "
        "receive work once it is the deployment's current version",
        pattern=r"^[^\s:]{1,255}$",
        examples=["1.4.2"],
        validate_default=True,
    )

    @field_validator("temporal_worker_build_id")
    @classmethod
    def _with_the_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "temporal_deployment_name" not in info.data:  # it is wrong, and reported
            return value
        if value is None and info.data["temporal_deployment_name"] is not None:
            raise ValueError("not set, but TEMPORAL_DEPLOYMENT_NAME is: set both or neither")
        if value is not None and info.data["temporal_deployment_name"] is None:
            raise ValueError("set, but TEMPORAL_DEPLOYMENT_NAME is not: set both or neither")
        return value
