"""The files that an order names: URLs are imported as assets, and assets are kept for the order."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from core.domain.ids import AssetId, UserId
from core.domain.media.content import EXTENSIONS, MediaKind, kind_of
from core.domain.plans import AssetSource, Parameters, Source
from core.ordering.assets.imports import AssetImporter
from core.ordering.planning.steps import KnownFile
from core.store.database import Connection
from core.store.files.user_assets import StoredAsset, lock_used_assets

FILE_KINDS: Final = {
    "image": MediaKind.IMAGE,
    "end_image": MediaKind.IMAGE,
    "video": MediaKind.VIDEO,
    "audio": MediaKind.AUDIO,
}
"""The kind of file that a media parameter takes, by its name."""
_QUOTED: Final = "quoted/"
"""Begins the id of an asset that a quote assumes; no stored asset has such an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlSource:
    """A file that is imported before the order is accepted.

    kind: what the order declares it to be. None: what its parameter takes.
    """

    url: str
    kind: MediaKind | None = None


RequestedSource = Source | UrlSource


async def import_sources(
    importer: AssetImporter, user_id: UserId, sources: Mapping[str, RequestedSource]
) -> dict[str, Source]:
    """Return the sources by name, with an asset in place of each URL.

    All are fetched at once, since the caller waits. Repeating is safe: the same content is the same
    asset. Raises what the importer raises, with the name of the source as the field.
    """

    async def imported(name: str, source: RequestedSource) -> Source:
        if not isinstance(source, UrlSource):
            return source
        file = await importer.import_url(user_id, source.url, field=name)
        return AssetSource(asset=file.asset.asset_id)

    results = await asyncio.gather(
        *(imported(name, source) for name, source in sources.items()), return_exceptions=True
    )
    complete: dict[str, Source] = {}
    for name, result in zip(sources, results, strict=True):
        if isinstance(result, BaseException):
            raise result
        complete[name] = result
    return complete


def assumed_sources(
    sources: Mapping[str, RequestedSource],
) -> tuple[dict[str, Source], dict[AssetId, KnownFile]]:
    """Return the sources of a quote, for which nothing is fetched, and what it assumes of URLs.

    A file at a URL is assumed to be of the kind that its parameter takes, and of unknown length.
    """
    assumed: dict[str, Source] = {}
    files: dict[AssetId, KnownFile] = {}
    for name, source in sources.items():
        if isinstance(source, UrlSource):
            asset_id = AssetId(f"{_QUOTED}{name}")
            files[asset_id] = KnownFile(
                kind=source.kind or FILE_KINDS.get(name.rpartition("/")[2]),
                likely_kind=_likely_kind(source.url),
            )
            assumed[name] = AssetSource(asset=asset_id)
        else:
            assumed[name] = source
    return assumed, files


def _likely_kind(url: str) -> MediaKind | None:
    """Return the kind that the end of an address suggests."""
    suffix = urlsplit(url).path.rpartition(".")[2].lower()
    return next((kind_of(type_) for type_, known in EXTENSIONS.items() if known == suffix), None)


def assets_of(sources: Iterable[Source]) -> list[AssetId]:
    """Return the ids of the assets among these sources."""
    return sorted({source.asset for source in sources if isinstance(source, AssetSource)})


def imported_files(files: Mapping[str, RequestedSource]) -> dict[str, Source]:
    """Return files among which no URL is left. Raises TypeError."""
    sources: dict[str, Source] = {}
    for name, file in files.items():
        if isinstance(file, UrlSource):
            raise TypeError(f"{name} is not imported")
        sources[name] = file
    return sources


async def keep_assets(
    conn: Connection, user_id: UserId, sources: Iterable[Source]
) -> dict[AssetId, KnownFile]:
    """Return the user's assets among these sources. They cannot be deleted until COMMIT.

    After that, the order's steps keep them. Unknown and foreign ids are missing.
    """
    asset_ids = assets_of(sources)
    if not asset_ids:
        return {}
    stored = await lock_used_assets(conn, user_id, asset_ids)
    return {asset_id: _known(asset) for asset_id, asset in stored.items()}


def sources_of(parameters: Iterable[Parameters]) -> list[Source]:
    """Return the sources of several steps."""
    return [source for each in parameters for source in each.sources.values()]


def _known(asset: StoredAsset) -> KnownFile:
    return KnownFile(kind=asset.kind, facts=asset.media)
