"""Assets over HTTP: a stable address that leads to the file."""

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
ADDRESS_SECONDS = 3600
"""Life of a signed address: a long video over a slow line; this address gives a new one at any
time.
"""

router = APIRouter(prefix="/api", tags=["assets"])


@router.get(
    "/assets/{asset_id}/content",
    status_code=302,
    response_class=Response,
    summary="The file",
    responses={
        302: {
            "description": "Where the file is: on the CDN for good, else at an address that expires.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
    },
)
async def read_content(request: Request, user_id: CurrentUser, asset_id: str) -> Response:
    """This address stays the same; the one it leads to may not."""
    services = services_of(request)
    object_key = None
    if ASSET_ID.fullmatch(asset_id):
        async with services.database.reading_as(user_id) as conn:
            object_key = await find_object_key(conn, user_id, AssetId(asset_id))
    if object_key is None:
        raise not_found(_PATH)
    headers = {
        "Location": await services.objects.address(object_key, expires_seconds=ADDRESS_SECONDS)
    }
    headers["Cache-Control"] = "private, max-age=300" if services.files_are_public else "no-store"
    return Response(status_code=302, headers=headers)
