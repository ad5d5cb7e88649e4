"""Addresses of assets that may be given to users, and kept."""

from dataclasses import dataclass

from core.domain.ids import AssetId


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetLinks:
    """Stable addresses: the CDN's where the bucket is public, else the API's, which redirects to a
    fresh presigned one.
    """

    public_base_url: str
    cdn_base_url: str | None

    def address(self, asset_id: AssetId, object_key: str) -> str:
        if self.cdn_base_url is not None:
            return f"{self.cdn_base_url.rstrip('/')}/{object_key}"
        return f"{self.public_base_url}/api/assets/{asset_id}/content"
