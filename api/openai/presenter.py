"""Build videos from store records."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from api.executions.presenter import execution_response
from api.openai.schemas import Video, VideoError
from api.openai.sizes import frame
from api.services import Services
from core.domain.plans import Scalar, StepOutput
from core.domain.states import ExecutionStatus
from core.ordering.planning.plan import IMAGE, VIDEO
from core.providers.models import Model
from core.providers.registry import Providers
from core.store.executions.views.videos import VideoRecord, VideoStep

POLL_AFTER: Final = "openai-poll-after-ms"
"""The header that both clients obey while they poll; they keep the first value that they see."""
QUICK_SECONDS: Final = 10
QUICK_POLL_MS: Final = 500
POLL_MS: Final = (2_000, 10_000)
_NOTHING: Final[Mapping[str, Any]] = {}
_STATUSES: Final = {
    ExecutionStatus.QUEUED: "queued",
    ExecutionStatus.RUNNING: "in_progress",
    ExecutionStatus.COMPLETED: "completed",
    ExecutionStatus.FAILED: "failed",
    ExecutionStatus.CANCELLED: "failed",
}


def video_response(video: VideoRecord, services: Services) -> Video:
    """Return a video. A cancelled one has failed: the clients know no other end."""
    execution = execution_response(video.execution, services.links)
    completed = execution.status is ExecutionStatus.COMPLETED
    ended_at, kept = video.ended_at if completed else None, services.files_kept
    file = result_file(execution.result) if completed else None
    return Video.model_validate(
        {
            "id": execution.id,
            "status": _STATUSES[execution.status],
            "progress": execution.progress,
            "created_at": _unix(execution.created_at),
            "completed_at": _unix(ended_at),
            "expires_at": _unix(ended_at + kept if ended_at and kept else None),
            "model": video.steps[VIDEO].model,
            "prompt": video.prompt,
            "seconds": _seconds(video.steps[VIDEO]) or _seconds_of(file),
            "size": _size(video.steps, services.providers) or _size_of(file),
            "error": _error(execution.status, execution.error),
            "execution_id": execution.id,
            "cost": execution.cost,
            "metadata": execution.metadata,
        }
    )


def poll_headers(video: VideoRecord) -> dict[str, str]:
    """Return the header with the time until the next poll: a twentieth of the model's usual time.

    It follows from the longest step, because the clients keep the first value.
    """
    if video.execution.status.ended:
        return {}
    usual = video.steps[VIDEO].usual_seconds
    least, most = POLL_MS
    milliseconds = min(max(usual * 1000 // 20, least), most)
    return {POLL_AFTER: str(QUICK_POLL_MS if usual < QUICK_SECONDS else milliseconds)}


def result_file(result: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return the file of the video among the results of its execution."""
    return (result or _NOTHING).get("outputs", _NOTHING).get("result")


def _error(status: ExecutionStatus, error: Any) -> VideoError | None:
    if error is not None:
        return VideoError(code=error.code, message=error.message)
    if status is ExecutionStatus.CANCELLED:
        return VideoError(code="cancelled", message="The request was cancelled.")
    return None


def _seconds(step: VideoStep) -> str | None:
    seconds = step.parameters.values.get("duration_seconds")
    return None if seconds is None else str(seconds)


def _seconds_of(file: Mapping[str, Any] | None) -> str | None:
    seconds = _media(file).get("durationSeconds")
    return None if seconds is None else f"{round(seconds, 2):g}"


def _size(steps: Mapping[str, VideoStep], providers: Providers) -> str | None:
    ratio = _ratio(steps, providers)
    ordered = frame(steps[VIDEO].parameters.values.get("resolution"), ratio)
    return None if ordered is None else ordered.size


def _ratio(steps: Mapping[str, VideoStep], providers: Providers) -> Scalar | None:
    """Return the shape that was ordered: of the video, or of the picture that it begins with.

    None: the user's own picture decides, or the model is no longer offered.
    """
    video = steps[VIDEO]
    picture = video.parameters.sources.get(IMAGE)
    offered = providers.find_model(video.model, video.provider)
    if picture is None or (offered is not None and not follows_picture(offered[1])):
        return video.parameters.values.get("aspect_ratio")
    if isinstance(picture, StepOutput) and picture.step in steps:
        return steps[picture.step].parameters.values.get("aspect_ratio")
    return None


def follows_picture(model: Model) -> bool:
    """Return whether a video has the shape of its start picture, whatever was ordered."""
    ratio = model.input("aspect_ratio")
    return ratio is None or ratio.unless == IMAGE


def _size_of(file: Mapping[str, Any] | None) -> str | None:
    media = _media(file)
    if not media.get("width") or not media.get("height"):
        return None
    return f"{media['width']}x{media['height']}"


def _media(file: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return (file or _NOTHING).get("media") or _NOTHING


def _unix(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())
