"""Delete an asset that no open execution uses."""

from core.domain.ids import AssetId, UserId
from core.ordering.errors import AssetInUseError, AssetNotFoundError
from core.platform.observability.logging import get_logger
from core.store.database import Database
from core.store.files import user_assets

log = get_logger(__name__)


async def delete_asset(database: Database, user_id: UserId, asset_id: AssetId) -> None:
    """Delete an upload; the reconciler deletes its file.

    Raises AssetNotFoundError, and AssetInUseError if an open execution uses the asset or if it is
    an output: an execution keeps its outputs.
    """
    async with database.as_user(user_id) as conn:
        asset = await user_assets.lock_asset(conn, user_id, asset_id)
        if asset is None:
            raise AssetNotFoundError
        if asset.execution_id is not None:
            raise AssetInUseError(execution_id=asset.execution_id, output=True)
        user = await user_assets.find_use(conn, user_id, asset_id)
        if user is not None:
            raise AssetInUseError(execution_id=user, output=False)
        await user_assets.delete_asset(conn, asset_id)
    log.info("asset.deleted", user_id=user_id, asset_id=asset_id)
