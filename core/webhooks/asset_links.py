"""Stable URLs of assets, which users may keep."""

from dataclasses import dataclass

from core.domain.ids import AssetId


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetLinks:
    """Builds URLs: the CDN's if the bucket is public, else the API's.

    The API redirects to a fresh presigned URL.
    """

    public_base_url: str
    cdn_base_url: str | None

    def address(self, asset_id: AssetId, object_key: str) -> str:
        if self.cdn_base_url is not None:
            return f"{self.cdn_base_url.rstrip('/')}/{object_key}"
        return f"{self.public_base_url}/api/assets/{asset_id}/content"
