"""Settings of PostgreSQL and of object storage."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from core.platform.settings.base import Settings, Url
from core.platform.settings.postgres_url import checked_postgres_url


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

    s3_endpoint_url: Url | None = Field(
        default=None, description="address of the S3 server; default: AWS"
    )
    s3_bucket: str = Field(
        description="bucket for produced files", examples=["takeone-assets"], min_length=3
    )
    aws_access_key_id: str = Field(description="access key of the bucket", examples=["AKIA..."])
    aws_secret_access_key: SecretStr = Field(description="secret of the access key")
    aws_region: str = Field(default="us-east-1", description="region of the bucket; R2: auto")
    cdn_base_url: Url | None = Field(
        default=None,
        description="public address in front of the bucket; default: none, links are presigned and expire",
    )
