"""Whether what Temporal keeps is encrypted, and the endpoint that shows it to an operator."""

from ipaddress import ip_address

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from core.platform.settings.base import Port, Settings
from core.platform.urls import checked_origin

MIN_TOKEN_CHARACTERS = 16


class PayloadSettings(Settings):
    """What Temporal sees. API and worker read both forms, whatever is set."""

    temporal_encrypt_payloads: bool = Field(
        default=False,
        description="encrypt what Temporal keeps of a workflow: inputs, results, memos, error messages, stack traces",
    )


class CodecSettings(Settings):
    """Where Temporal's Web UI and command line have payloads decrypted."""

    codec_host: str = Field(
        default="127.0.0.1", description="address the codec endpoint listens on"
    )
    codec_port: Port = Field(default=8234, description="port of the codec endpoint")
    # Its check looks at the address: it comes after it.
    codec_token: SecretStr | None = Field(
        default=None,
        description="what an operator shows to the codec endpoint, as a bearer token or as a password; needed unless "
        "it listens on loopback",
        validate_default=True,
    )
    codec_origins: str = Field(
        default="http://localhost:8233,http://127.0.0.1:8233",
        description="origins of the Temporal Web UI, commas: pages of no other may ask the codec endpoint",
    )

    @field_validator("codec_token")
    @classmethod
    def _guarded(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None and not _is_loopback(str(info.data.get("codec_host", ""))):
            raise ValueError("not set, and CODEC_HOST is not a loopback address")
        if value is not None and len(value.get_secret_value()) < MIN_TOKEN_CHARACTERS:
            raise ValueError(f"must have at least {MIN_TOKEN_CHARACTERS} characters")
        return value

    @field_validator("codec_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        return ",".join(
            checked_origin(part.strip().lower()) for part in value.split(",") if part.strip()
        )

    def origins(self) -> list[str]:
        return self.codec_origins.split(",")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
