"""Settings of PostgreSQL."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from core.platform.settings.base import Settings


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
        if value and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must start with postgresql://")
        return value

    @property
    def owner_url(self) -> SecretStr:
        """The address for migrations."""
        return self.database_owner_url or self.database_url
