"""Calls about assets."""

from collections.abc import Mapping
from pathlib import Path

from takeone._calls import values
from takeone._core.calls import Call, path
from takeone.models.assets import Asset
from takeone.models.base import Page


def upload(file: str | Path | bytes) -> Call[Asset]:
    """Upload a file. Repeating is safe: the same content is stored once."""
    content = Path(file) if isinstance(file, str) else file
    return Call("POST", "/api/assets", Asset, upload=content)


def import_url(url: str) -> Call[Asset]:
    return Call("POST", "/api/assets", Asset, body={"url": url})


def page(filters: Mapping[str, object]) -> Call[Page[Asset]]:
    return Call("GET", "/api/assets", Page[Asset], query=values.query(filters))


def get(asset_id: str) -> Call[Asset]:
    return Call("GET", path("/api/assets/{}", asset_id), Asset)


def delete(asset_id: str) -> Call[None]:
    return Call("DELETE", path("/api/assets/{}", asset_id))


def content(asset_id: str, name: str | None = None) -> Call[None]:
    """Name the file of an asset, which is answered with a redirect to it."""
    place = path("/api/assets/{}/content", asset_id)
    return Call("GET", place, query=values.query({"download": name}))
