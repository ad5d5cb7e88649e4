"""Messages about assets: files in object storage."""

from dataclasses import dataclass

from core.domain.failures import Failure
from core.domain.ids import AssetId, JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAssetResult:
    """The stored asset, or the reason why the file can never be stored.

    failure: expired, not a video, too large. Time-outs and outages are retried instead.
    more_jobs: those of the order whose files need no other try: stored, or lost. An
    earlier version of the worker stores none of them.
    """

    asset_id: AssetId | None
    size_bytes: int = 0
    failure: Failure | None = None
    more_jobs: tuple[JobId, ...] = ()
