"""Settings of the files that users upload."""

from typing import Annotated, Final

from pydantic import Field

from core.platform.settings.base import Settings

MIB: Final = 1024**2


class AssetSettings(Settings):
    """Limits of uploads: of one file, and of all uploads of a user."""

    asset_max_bytes: Annotated[int, Field(ge=MIB, le=5 * 1024 * MIB)] = Field(
        default=200 * MIB,
        description="size limit of an uploaded file; the proxy in front must allow 64 KiB more, see PROXY_ASSET_BYTES",
    )
    assets_per_user: Annotated[int, Field(ge=0)] = Field(
        default=10_000, description="maximum uploaded files per user; further uploads are rejected"
    )
    asset_bytes_per_user: Annotated[int, Field(ge=0)] = Field(
        default=50 * 1024 * MIB,
        description="maximum bytes of all uploaded files of a user; further uploads are rejected",
    )
