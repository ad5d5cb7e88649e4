"""Settings of PostgreSQL and of object storage."""

from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, FilePath, SecretStr, ValidationInfo, field_validator

from core.platform.settings.base import Settings, Url
from core.platform.settings.postgres_url import checked_postgres_url

# Servers whose address never has a path, and whose console shows addresses with the bucket.
_VENDOR_HOSTS: Final = (
    ".amazonaws.com", ".r2.cloudflarestorage.com", ".digitaloceanspaces.com", ".backblazeb2.com"
)  # fmt: skip


class DatabaseSettings(Settings):
    """PostgreSQL addresses and the size of the connection pool."""

    database_url: SecretStr = Field(
        description="PostgreSQL address with the application role",
        examples=["postgresql://takeone_app:PASSWORD@localhost/takeone"],
    )
    database_owner_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL address with the owner role, for migrations; must differ from the application role",
    )
    database_pool_size: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=10, description="maximum number of connections per process"
    )

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        return value and SecretStr(checked_postgres_url(value.get_secret_value()))

    @property
    def owner_url(self) -> SecretStr:
        """The address for migrations."""
        return self.database_owner_url or self.database_url


class StorageSettings(Settings):
    """Object storage: AWS S3, Cloudflare R2 or another S3-compatible server."""

    # The validator of the addresses reads s3_bucket, and that of the keys s3_credentials.
    s3_bucket: str = Field(
        description="bucket for produced files", examples=["takeone-assets"], min_length=3
    )
    s3_private_bucket: Annotated[str, Field(min_length=3)] | None = Field(
        default=None,
        description="bucket for the restore marker, if everyone can read all of S3_BUCKET; default: S3_BUCKET",
    )
    s3_endpoint_url: Url | None = Field(
        default=None, description="address of the S3 server; default: AWS"
    )
    s3_public_endpoint_url: Url | None = Field(
        default=None,
        description="address of the S3 server in presigned links, if clients need another one; default: "
        "S3_ENDPOINT_URL",
    )
    s3_credentials: Literal["keys", "role"] = Field(
        default="keys",
        description="keys: the access key below; role: the role of the machine (EKS, ECS or EC2), renewed by itself",
    )
    aws_access_key_id: str | None = Field(
        default=None,
        description="access key of the bucket; required unless S3_CREDENTIALS=role",
        examples=["AKIA..."],
        validate_default=True,
    )
    aws_secret_access_key: SecretStr | None = Field(
        default=None,
        description="secret of the access key; required unless S3_CREDENTIALS=role",
        validate_default=True,
    )
    aws_session_token: SecretStr | None = Field(
        default=None,
        description="session token of a temporary access key; default: a permanent one",
    )
    aws_region: str = Field(default="us-east-1", description="region of the bucket; R2: auto")
    aws_ca_bundle: FilePath | None = Field(
        default=None,
        description="file of certificate authorities of the S3 server; default: the public ones",
    )
    cdn_base_url: Url | None = Field(
        default=None,
        description="public address in front of the bucket; default: none, links are presigned and expire",
    )

    @field_validator("s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def _without_bucket(cls, value: str | None, info: ValidationInfo) -> str | None:
        parts, bucket = urlsplit(value or ""), str(info.data.get("s3_bucket") or "")
        host, last = parts.hostname or "", parts.path.rpartition("/")[2]
        of_vendor = host.endswith(_VENDOR_HOSTS)
        if (last and (last == bucket or of_vendor)) or (
            bucket and of_vendor and host.startswith(f"{bucket}.")
        ):
            raise ValueError(
                "contains the bucket; give only the server, https://HOST, and the bucket in S3_BUCKET"
            )
        return value

    @field_validator("aws_access_key_id", "aws_secret_access_key")
    @classmethod
    def _keys_needed(
        cls, value: str | SecretStr | None, info: ValidationInfo
    ) -> str | SecretStr | None:
        if value is None and info.data.get("s3_credentials") == "keys":
            raise ValueError("not set")
        return value
