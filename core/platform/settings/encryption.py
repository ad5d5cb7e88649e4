"""Settings of encryption: keys, Temporal payloads, and the codec endpoint for operators."""

import base64
import binascii
from ipaddress import ip_address

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from core.platform.settings.base import Port, Settings
from core.platform.urls import checked_origin

ENCRYPTION_KEY_BYTES = 32
MIN_TOKEN_CHARACTERS = 16


class SecuritySettings(Settings):
    """The keys that encrypt secrets at rest."""

    encryption_keys: SecretStr = Field(
        description="base64 keys of 32 bytes, comma-separated, newest first; they encrypt secrets at rest and sign "
        "tokens",
        examples=["$(openssl rand -base64 32)"],
    )

    @field_validator("encryption_keys")
    @classmethod
    def _usable_keys(cls, value: SecretStr) -> SecretStr:
        _decode_keys(value.get_secret_value())
        return value

    def encryption_key_bytes(self) -> list[bytes]:
        """Return the keys, newest first, 32 bytes each."""
        return _decode_keys(self.encryption_keys.get_secret_value())


class PayloadSettings(Settings):
    """Encryption of Temporal payloads; API and worker read both forms with either setting."""

    temporal_encrypt_payloads: bool = Field(
        default=False,
        description="encrypt workflow data that Temporal stores: inputs, results, memos, error messages, stack traces",
    )


class CodecSettings(Settings):
    """The endpoint that decrypts payloads for Temporal's Web UI and command line."""

    codec_host: str = Field(
        default="127.0.0.1", description="address the codec endpoint listens on"
    )
    codec_port: Port = Field(default=8234, description="port of the codec endpoint")
    # The validator reads codec_host, so this field comes after it.
    codec_token: SecretStr | None = Field(
        default=None,
        description="bearer token or password for the codec endpoint; required unless it listens on loopback",
        validate_default=True,
    )
    codec_origins: str = Field(
        default="http://localhost:8233,http://127.0.0.1:8233",
        description="comma-separated origins of the Temporal Web UI; pages of other origins are rejected",
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


def _decode_keys(value: str) -> list[bytes]:
    parts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        keys = [base64.b64decode(part, validate=True) for part in parts]
    except binascii.Error:
        raise ValueError("not base64") from None
    if not keys or any(len(key) != ENCRYPTION_KEY_BYTES for key in keys):
        raise ValueError(f"each key must have {ENCRYPTION_KEY_BYTES} bytes after decoding")
    return keys


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
