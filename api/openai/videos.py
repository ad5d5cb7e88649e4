"""Create and get videos."""

import json
import time
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response

from api.assets.multipart import MULTIPART, media_type_of
from api.auth.authentication import AnyCaller, CurrentUser
from api.executions.parameters import IdempotencyHeader
from api.http.ids import EXECUTION_ID
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, invalid_fields, not_found
from api.http.problems.texts import ASSET_BODY_TYPES
from api.http.strict_json import check_encoding, parse_json
from api.openai.bodies import (
    INPUT_REFERENCE,
    REQUEST_BODY,
    body_of_form,
    body_of_json,
)
from api.openai.brackets import read_brackets
from api.openai.forms import read_form
from api.openai.orders import VideoOrder, order_video
from api.openai.presenter import poll_headers, video_response
from api.openai.references import import_picture, reference_source
from api.openai.schemas import Video
from api.orders.accept import ORDER_CODES
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId, UserId
from core.domain.plans import AssetSource
from core.ordering.errors import FaultCode
from core.store.executions.views.videos import VideoRecord, find_video

VIDEOS_PATH = "/v1/videos"
JSON = "application/json"

TAG = "OpenAI clients"

orders = APIRouter(prefix="/v1", tags=[TAG])
router = APIRouter(prefix="/v1", tags=[TAG])


@orders.post(
    "/videos",
    response_model=Video,
    summary="Create a video with an OpenAI client",
    openapi_extra={"requestBody": REQUEST_BODY},
    responses=problems(*ORDER_CODES),
)
async def create_video(
    request: Request,
    response: Response,
    user_id: CurrentUser,
    caller: AnyCaller,
    idempotency_header: IdempotencyHeader = None,
) -> Video:
    """Accept the request, hold its worst price and start the execution.

    Send a form, as the clients do, or JSON. A request without `Idempotency-Key` that the client
    repeats because the answer was lost gets the video of its first attempt.
    """
    arrived = time.monotonic()
    services = services_of(request)
    order = await _read(request, services, user_id)
    answer = await order_video(
        request, services, caller, order, key=idempotency_header, arrived=arrived
    )
    if answer.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    video = await get_video_record(services, user_id, json.loads(answer.body)["executionId"])
    response.headers.update(poll_headers(video))
    return video_response(video, services)


async def _read(request: Request, services: Services, user_id: UserId) -> VideoOrder:
    """Read the order, and store its picture if it was sent along."""
    media_type = media_type_of(request)
    if media_type not in (MULTIPART, JSON):
        raise ProblemError(FailureCode.UNSUPPORTED_MEDIA_TYPE, ASSET_BODY_TYPES)
    check_encoding(request)
    picture: AssetSource | None = None
    file_sha256: str | None = None
    if media_type == JSON:
        body = body_of_json(parse_json(await request.body()))
    else:

        async def store(name: str, chunks: AsyncIterator[bytes]) -> None:
            nonlocal picture
            if name != INPUT_REFERENCE:
                raise _not_a_file(name)
            picture = await import_picture(services.imports, user_id, chunks)

        form = await read_form(request, store)
        file_sha256 = form.file_sha256.get(INPUT_REFERENCE)
        body = body_of_form(read_brackets(form.texts), has_file=picture is not None)
    source = picture
    if body.input_reference is not None:
        source = await reference_source(services.imports, user_id, body.input_reference)
    return VideoOrder(body=body, picture=source, file_sha256=file_sha256)


def _not_a_file(name: str) -> ProblemError:
    return invalid_fields(
        [
            {
                "field": name[:200],
                "detail": f"is a file; the only file of this request is {INPUT_REFERENCE}",
                "code": FaultCode.UNKNOWN_FIELD,
            }
        ]
    )


@router.get(
    "/videos/{video_id}",
    summary="Get a video with an OpenAI client",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def get_video(
    request: Request, response: Response, user_id: CurrentUser, video_id: str
) -> Video:
    """Return a video as of one moment, with the time until the next poll in a header."""
    services = services_of(request)
    video = await get_video_record(services, user_id, video_id)
    response.headers.update(poll_headers(video))
    return video_response(video, services)


async def get_video_record(services: Services, user_id: UserId, video_id: str) -> VideoRecord:
    """Return a video. Raise the 404 of an unknown video also for another user's."""
    if EXECUTION_ID.fullmatch(video_id):
        async with services.database.reading_as(user_id) as conn:
            video = await find_video(conn, user_id, ExecutionId(video_id))
        if video is not None:
            return video
    raise not_found(VIDEOS_PATH)
