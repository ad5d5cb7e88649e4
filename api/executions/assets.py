"""GET /api/assets/{id}/content."""

from fastapi import APIRouter, Request, Response

from api.auth.authentication import CurrentUser
from api.http.ids import ASSET_ID
from api.http.openapi import problems
from api.http.problems import not_found
from api.services import services_of
from core.domain.failures import FailureCode
from core.domain.ids import AssetId
from core.store.executions.status import find_object_key

_PATH = "/api/assets"
SIGNED_URL_SECONDS = 3600
"""Long enough to download a long video over a slow connection."""

router = APIRouter(prefix="/api", tags=["assets"])


@router.get(
    "/assets/{asset_id}/content",
    status_code=302,
    response_class=Response,
    summary="Download an asset",
    responses={
        302: {
            "description": "The URL of the file: permanent on a CDN, otherwise signed and temporary.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
    },
)
async def download_asset(request: Request, user_id: CurrentUser, asset_id: str) -> Response:
    """Redirect to the file. This URL is permanent; the target may change with each request."""
    services = services_of(request)
    object_key = None
    if ASSET_ID.fullmatch(asset_id):
        async with services.database.reading_as(user_id) as conn:
            object_key = await find_object_key(conn, user_id, AssetId(asset_id))
    if object_key is None:
        raise not_found(_PATH)
    headers = {
        "Location": await services.objects.address(object_key, expires_seconds=SIGNED_URL_SECONDS)
    }
    headers["Cache-Control"] = "private, max-age=300" if services.files_are_public else "no-store"
    return Response(status_code=302, headers=headers)
