"""Download, cancel and delete videos."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from api.assets.downloads import redirect_to
from api.auth.authentication import CurrentUser
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, invalid_field
from api.openai.presenter import result_file, video_response
from api.openai.schemas import Video, VideoDeleted
from api.openai.videos import TAG, get_video_record
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import AssetId, ExecutionId, UserId
from core.domain.states import ExecutionStatus
from core.ordering.cancel import cancel_execution
from core.ordering.delete import delete_execution
from core.ordering.errors import ExecutionNotFinalError
from core.store.executions.views.videos import VideoRecord, find_thumbnail
from core.store.files.user_assets import find_asset

FINAL_SECONDS: Final = 5.0
"""After a cancel, its webhook and its last bill usually end within this time."""
FINAL_POLL_SECONDS: Final = 0.2
VARIANTS: Final = ("video", "thumbnail")
NOT_READY: Final = "video_not_ready"

router = APIRouter(prefix="/v1", tags=[TAG])


@router.get(
    "/videos/{video_id}/content",
    status_code=302,
    response_class=Response,
    summary="Download a video with an OpenAI client",
    responses={
        302: {
            "description": "The URL of the file: permanent on a CDN, otherwise signed and temporary.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST, FailureCode.NOT_FOUND),
    },
)
async def download_video(
    request: Request,
    user_id: CurrentUser,
    video_id: str,
    variant: Annotated[str, Query(json_schema_extra={"enum": list(VARIANTS)})] = "video",
) -> Response:
    """Redirect to the video, or to its first picture: its start picture, or its poster.

    A video that is not completed, and a thumbnail that is not made, are answered with 404.
    """
    if variant not in VARIANTS:
        raise invalid_field(
            "variant", f"must be one of: {', '.join(VARIANTS)}", allowed=list(VARIANTS)
        )
    services = services_of(request)
    video = await get_video_record(services, user_id, video_id)
    if video.execution.status is not ExecutionStatus.COMPLETED:
        raise _not_ready(f"The video is {_word(video)}: it has no file.")
    async with services.database.reading_as(user_id) as conn:
        asset_id = _video_asset(video)
        if variant == "thumbnail":
            asset_id = await find_thumbnail(conn, video.execution.execution_id)
        file = None if asset_id is None else await find_asset(conn, user_id, asset_id)
    if file is None:
        raise _not_ready("The file is not made yet, or it is deleted.")
    return await redirect_to(services, file)


def _video_asset(video: VideoRecord) -> AssetId | None:
    file = result_file(video.execution.result)
    return None if file is None else AssetId(file["id"])


def _word(video: VideoRecord) -> str:
    status = video.execution.status
    return {ExecutionStatus.RUNNING: "in progress"}.get(status, str(status))


def _not_ready(detail: str) -> ProblemError:
    error: dict[str, Any] = {"field": "video_id", "code": NOT_READY, "detail": detail}
    return ProblemError(FailureCode.NOT_FOUND, detail, members={"errors": [error]})


@router.post(
    "/videos/{video_id}/cancel",
    summary="Cancel a video with an OpenAI client",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def cancel_video(request: Request, user_id: CurrentUser, video_id: str) -> Video:
    """Stop buying, and cancel the jobs that run at providers. Repeating the request is safe.

    Waits up to 5 s for the end: the video has failed then, with the error code `cancelled`.
    """
    services = services_of(request)
    execution_id = await _own_video(services, user_id, video_id)
    await cancel_execution(services.ordering, user_id, execution_id)
    video = await get_video_record(services, user_id, video_id)
    return video_response(video, services)


async def _own_video(services: Services, user_id: UserId, video_id: str) -> ExecutionId:
    return (await get_video_record(services, user_id, video_id)).execution.execution_id


@router.delete(
    "/videos/{video_id}",
    summary="Delete a video with an OpenAI client",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.NOT_FOUND,
        FailureCode.EXECUTION_NOT_FINAL,
        FailureCode.ASSET_IN_USE,
    ),
)
async def delete_video(request: Request, user_id: CurrentUser, video_id: str) -> VideoDeleted:
    """Erase a video and its files; its cost stays in the usage. A running video is cancelled first.

    `deleted` is true once the video is gone, and never while a provider still renders it.
    """
    services = services_of(request)
    video = await get_video_record(services, user_id, video_id)
    execution_id = video.execution.execution_id
    if video.execution.status.ended:
        await delete_execution(services.database, user_id, execution_id)
        return VideoDeleted(id=video_id, deleted=True)
    cancelled = await cancel_execution(services.ordering, user_id, execution_id)
    deleted = cancelled.status.ended and await _delete_when_final(services, user_id, execution_id)
    return VideoDeleted(id=video_id, deleted=deleted)


async def _delete_when_final(
    services: Services, user_id: UserId, execution_id: ExecutionId
) -> bool:
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + FINAL_SECONDS
    while True:
        try:
            await delete_execution(services.database, user_id, execution_id)
        except ExecutionNotFinalError:
            if loop.time() > give_up_at:
                return False
            await asyncio.sleep(FINAL_POLL_SECONDS)
        else:
            return True
