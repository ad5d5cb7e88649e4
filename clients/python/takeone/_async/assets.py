"""Assets: uploads, and outputs of executions."""

from collections.abc import AsyncIterator
from pathlib import Path

from takeone._async.sender import Sender
from takeone._calls import assets
from takeone.models.assets import Asset
from takeone.models.base import Page


class Assets:
    """The files of the account."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    async def upload(self, file: str | Path | bytes) -> Asset:
        """Upload a picture, video or sound: a path, or the content. Repeating is safe."""
        return await self._sender.send(assets.upload(file))

    async def import_url(self, url: str) -> Asset:
        """Store the file of a public address as an asset."""
        return await self._sender.send(assets.import_url(url))

    def list(
        self, *, source: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> AsyncIterator[Asset]:
        """Iterate over assets, newest first. source: `upload` or `output`."""
        return self._sender.pages(assets.page({"source": source, "limit": limit, "cursor": cursor}))

    async def page(
        self, *, source: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Asset]:
        """Return one page of assets."""
        return await self._sender.send(
            assets.page({"source": source, "limit": limit, "cursor": cursor})
        )

    async def get(self, asset_id: str) -> Asset:
        """Return an asset."""
        return await self._sender.send(assets.get(asset_id))

    async def delete(self, asset_id: str) -> None:
        """Delete an upload that no open execution uses."""
        await self._sender.send(assets.delete(asset_id))

    async def address(self, asset_id: str, *, name: str | None = None) -> str:
        """Return an address of the file, for a browser; with a name, one that saves the file."""
        return await self._sender.location(assets.content(asset_id, name))

    async def download(self, asset: Asset | str, path: str | Path) -> Path:
        """Store the file of an asset under a path, when its checksum is right."""
        known = await self.get(asset) if isinstance(asset, str) else asset
        return await self._sender.download(known.id, known.sha256, Path(path))
