"""Upload, get, list and delete assets."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api.assets.multipart import MULTIPART, media_type_of, read_file
from api.assets.schemas import (
    UPLOAD_BODY,
    Asset,
    AssetFromUrl,
    AssetList,
    ListAssetsQuery,
    asset_response,
)
from api.auth.authentication import CurrentUser
from api.http.ids import ASSET_ID, decode_asset_cursor, encode_cursor
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, not_found, validation_problem
from api.http.problems.ordering import ASSETS_PATH
from api.http.problems.texts import ASSET_BODY_TYPES
from api.http.strict_json import check_encoding, parse_json
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import AssetId, UserId
from core.ordering.assets.deletion import delete_asset
from core.ordering.assets.imports import ImportedAsset
from core.store.files.user_assets import find_asset, list_assets

JSON = "application/json"

router = APIRouter(prefix="/api", tags=["assets"])


@router.post(
    "/assets",
    status_code=201,
    response_model=Asset,
    summary="Upload an asset",
    openapi_extra={"requestBody": UPLOAD_BODY},
    responses={
        200: {"description": "The account has an upload with this content.", "model": Asset},
        **problems(
            FailureCode.UNAUTHENTICATED,
            FailureCode.PAYLOAD_TOO_LARGE,
            FailureCode.UNSUPPORTED_MEDIA_TYPE,
            FailureCode.INVALID_REQUEST,
            FailureCode.MEDIA_UNSUPPORTED,
            FailureCode.MEDIA_DAMAGED,
            FailureCode.MEDIA_TOO_LARGE,
            FailureCode.MEDIA_UNAVAILABLE,
            FailureCode.ASSET_LIMIT_REACHED,
            FailureCode.STORAGE_UNAVAILABLE,
        ),
    },
)
async def create_asset(request: Request, response: Response, user_id: CurrentUser) -> Asset:
    """Store a picture, video or sound as an input of executions.

    Send the file as `multipart/form-data`, or the URL of the file as JSON. The same content is
    stored once: a repeated upload returns the same asset with 200. Pictures are turned upright and
    converted to 8-bit RGB where that is needed.
    """
    services = services_of(request)
    imported = await _import(request, services, user_id)
    response.status_code = 201 if imported.created else 200
    return asset_response(imported.asset)


async def _import(request: Request, services: Services, user_id: UserId) -> ImportedAsset:
    media_type = media_type_of(request)
    if media_type == MULTIPART:
        return await services.imports.import_stream(user_id, read_file(request))
    if media_type != JSON:
        raise ProblemError(FailureCode.UNSUPPORTED_MEDIA_TYPE, ASSET_BODY_TYPES)
    check_encoding(request)
    try:
        body = AssetFromUrl.model_validate(parse_json(await request.body()))
    except ValidationError as error:
        raise validation_problem(error.errors()) from None
    return await services.imports.import_url(user_id, body.url, field="url")


@router.get(
    "/assets",
    summary="List assets",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def read_assets(
    request: Request, user_id: CurrentUser, query: Annotated[ListAssetsQuery, Query()]
) -> AssetList:
    """Return uploads and outputs, newest first. Follow `nextCursor`."""
    before = decode_asset_cursor(query.cursor) if query.cursor is not None else None
    async with services_of(request).database.reading_as(user_id) as conn:
        listed = await list_assets(
            conn, user_id, before_id=before, origin=query.source, limit=query.limit + 1
        )
    page = listed[: query.limit]
    return AssetList(
        data=[asset_response(item) for item in page],
        next_cursor=encode_cursor(page[-1].asset_id) if len(listed) > query.limit else None,
    )


@router.get(
    "/assets/{asset_id}",
    summary="Get an asset",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def read_asset(request: Request, user_id: CurrentUser, asset_id: str) -> Asset:
    """`GET /api/assets/{id}/content` redirects to its file."""
    if ASSET_ID.fullmatch(asset_id):
        async with services_of(request).database.reading_as(user_id) as conn:
            asset = await find_asset(conn, user_id, AssetId(asset_id))
        if asset is not None:
            return asset_response(asset)
    raise not_found(ASSETS_PATH)


@router.delete(
    "/assets/{asset_id}",
    status_code=204,
    response_class=Response,
    summary="Delete an asset",
    responses=problems(
        FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND, FailureCode.ASSET_IN_USE
    ),
)
async def remove_asset(request: Request, user_id: CurrentUser, asset_id: str) -> Response:
    """Delete an upload that no open execution uses. Its file is deleted within seconds.

    Executions that used it keep their outputs; a retry that needs it is refused. An output is
    deleted with its execution.
    """
    if not ASSET_ID.fullmatch(asset_id):
        raise not_found(ASSETS_PATH)
    await delete_asset(services_of(request).database, user_id, AssetId(asset_id))
    return Response(status_code=204)
