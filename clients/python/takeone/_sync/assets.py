# Made from _async/assets.py by make_sync.py. Change that file, and run make_sync.py.
"""Assets: uploads, and outputs of executions."""

from collections.abc import Iterator
from pathlib import Path

from takeone._calls import assets
from takeone._sync.sender import Sender
from takeone.models.assets import Asset
from takeone.models.base import Page


class Assets:
    """The files of the account."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def upload(self, file: str | Path | bytes) -> Asset:
        """Upload a picture, video or sound: a path, or the content. Repeating is safe."""
        return self._sender.send(assets.upload(file))

    def import_url(self, url: str) -> Asset:
        """Store the file of a public address as an asset."""
        return self._sender.send(assets.import_url(url))

    def list(
        self, *, source: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Iterator[Asset]:
        """Iterate over assets, newest first. source: `upload` or `output`."""
        return self._sender.pages(assets.page({"source": source, "limit": limit, "cursor": cursor}))

    def page(
        self, *, source: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[Asset]:
        """Return one page of assets."""
        return self._sender.send(assets.page({"source": source, "limit": limit, "cursor": cursor}))

    def get(self, asset_id: str) -> Asset:
        """Return an asset."""
        return self._sender.send(assets.get(asset_id))

    def delete(self, asset_id: str) -> None:
        """Delete an upload that no open execution uses."""
        self._sender.send(assets.delete(asset_id))

    def address(self, asset_id: str, *, name: str | None = None) -> str:
        """Return an address of the file, for a browser; with a name, one that saves the file."""
        return self._sender.location(assets.content(asset_id, name))

    def download(self, asset: Asset | str, path: str | Path) -> Path:
        """Store the file of an asset under a path, when its checksum is right."""
        known = self.get(asset) if isinstance(asset, str) else asset
        return self._sender.download(known.id, known.sha256, Path(path))
