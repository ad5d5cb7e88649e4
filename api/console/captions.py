"""Captions of a film for the player of the console.

A page may show only captions of its own origin, and a redirect to the bucket would lose it. The
files are a few kilobytes, so the API passes them on. The route belongs to the console and is not
part of the public API.
"""

from typing import Final

from fastapi import APIRouter, Request, Response

from api.auth.authentication import CurrentUser
from api.http.ids import ASSET_ID
from api.http.problems.documents import not_found
from api.http.problems.ordering import ASSETS_PATH
from api.services import services_of
from core.domain.ids import AssetId
from core.domain.media.content import StorageRefusedError, StorageUnavailableError
from core.ordering.errors import StorageDownError
from core.store.files.user_assets import find_asset

CONTENT_TYPE: Final = "text/vtt"
MAX_BYTES: Final = 2_000_000
"""Of several hours of speech."""

router = APIRouter(prefix="/console", include_in_schema=False)


@router.get("/captions/{asset_id}")
async def read_captions(request: Request, user_id: CurrentUser, asset_id: str) -> Response:
    """Return an asset that is a WebVTT file."""
    services = services_of(request)
    file = None
    if ASSET_ID.fullmatch(asset_id):
        async with services.database.reading_as(user_id) as conn:
            file = await find_asset(conn, user_id, AssetId(asset_id))
    if file is None or file.content_type != CONTENT_TYPE or file.size_bytes > MAX_BYTES:
        raise not_found(ASSETS_PATH)
    try:
        content = b"".join([chunk async for chunk in services.objects.read(file.object_key)])
    except (StorageUnavailableError, StorageRefusedError) as error:
        raise StorageDownError from error
    return Response(content, media_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})
