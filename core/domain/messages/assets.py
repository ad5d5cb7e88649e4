"""Messages about assets: files that we hold in object storage."""

from dataclasses import dataclass

from core.domain.failures import Failure
from core.domain.ids import AssetId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAssetResult:
    """failure: set when the file can never be stored (expired, not a video, too large); time-outs
    and outages are retried instead.
    """

    asset_id: AssetId | None
    size_bytes: int = 0
    failure: Failure | None = None
