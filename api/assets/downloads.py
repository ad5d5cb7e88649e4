"""GET /api/assets/{id}/content."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator

from api.auth.authentication import CurrentUser
from api.http.ids import ASSET_ID
from api.http.openapi import problems
from api.http.problems.documents import not_found
from api.http.problems.ordering import ASSETS_PATH
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import AssetId
from core.domain.media.file_names import (
    MAX_FILE_NAME,
    check_file_name,
    content_disposition,
    download_name,
)
from core.store.files.user_assets import AssetOrigin, StoredAsset, find_asset

SIGNED_URL_SECONDS = 3600
"""Long enough to download a long video over a slow connection."""

FileName = Annotated[
    Annotated[str, AfterValidator(check_file_name)] | None,
    Query(
        max_length=MAX_FILE_NAME,
        description="The browser saves the file under this name instead of opening it. Without a "
        "slash, backslash or control character; the file's extension is added if it is missing. "
        "Empty: a name from the execution or the upload, and the file's kind.",
        examples=["holiday.mp4"],
    ),
]

router = APIRouter(prefix="/api", tags=["assets"])


@router.get(
    "/assets/{asset_id}/content",
    status_code=302,
    response_class=Response,
    summary="Download an asset",
    responses={
        302: {
            "description": "The URL of the file: permanent on a CDN, otherwise signed and "
            "temporary. With `download`, and of an upload, always signed.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **problems(FailureCode.INVALID_REQUEST, FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
    },
)
async def download_asset(
    request: Request, user_id: CurrentUser, asset_id: str, download: FileName = None
) -> Response:
    """Redirect to the file. This URL is permanent; the target may change with each request."""
    services = services_of(request)
    file = None
    if ASSET_ID.fullmatch(asset_id):
        async with services.database.reading_as(user_id) as conn:
            file = await find_asset(conn, user_id, AssetId(asset_id))
    if file is None:
        raise not_found(ASSETS_PATH)
    return await redirect_to(services, file, download)


async def redirect_to(
    services: Services, file: StoredAsset, download: str | None = None
) -> Response:
    """Return a redirect to a file. download: the name under which it is saved."""
    is_public = services.files_are_public and file.origin is AssetOrigin.OUTPUT
    permanent = is_public and download is None
    location = await services.objects.address(
        file.object_key,
        expires_seconds=SIGNED_URL_SECONDS,
        disposition=None if download is None else _disposition(file, download),
    )
    return Response(
        status_code=302,
        headers={
            "Location": location,
            "Cache-Control": "private, max-age=300" if permanent else "no-store",
        },
    )


def _disposition(file: StoredAsset, requested: str) -> str:
    name = download_name(
        requested,
        owner_id=file.execution_id or file.asset_id,
        kind=file.kind,
        output_number=file.output_number or 0,
        content_type=file.content_type,
    )
    return content_disposition(name)
