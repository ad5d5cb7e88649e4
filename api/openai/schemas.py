"""Response bodies, as the clients of OpenAI read them: snake_case, times in Unix seconds."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.executions.responses import Cost


class OpenAIAnswer(BaseModel):
    """Base class of response bodies. Every member is sent, null where it is empty."""

    model_config = ConfigDict(frozen=True)


class VideoError(OpenAIAnswer):
    code: str = Field(description="One of the failure codes; `cancelled` after a cancel.")
    message: str


class Video(OpenAIAnswer):
    id: str = Field(description="The id of the execution, also for the routes below /api.")
    object: Literal["video"] = "video"
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(description="Percent.")
    created_at: int
    completed_at: int | None = Field(description="Of a completed video.")
    expires_at: int | None = Field(
        description="When the file of a completed video is deleted; null: it is kept."
    )
    model: str = Field(description="The model that makes the video.")
    prompt: str
    seconds: str | None = Field(
        description="As ordered; null until completed if the model has no choice of lengths."
    )
    size: str | None = Field(
        description="As ordered; null until completed if it follows from the start picture, or the "
        "model has no choice of resolutions."
    )
    remixed_from_video_id: str | None = None
    error: VideoError | None
    execution_id: str
    cost: Cost
    metadata: dict[str, Any]


class VideoList(OpenAIAnswer):
    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None = Field(description="The value of `after` for the next page.")
    has_more: bool


class VideoDeleted(OpenAIAnswer):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: bool = Field(
        description="False: the cancel of the running video is requested, and it has not ended or "
        "its bill or webhook is open. Delete it again later."
    )


class OpenAIModel(OpenAIAnswer):
    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="The day on which the price of the model was read.")
    owned_by: str = Field(description="The provider.")
    seconds: list[str] = Field(description="The lengths that an order may name.")
    sizes: list[str] = Field(
        description="The frame sizes that an order without a start picture may name."
    )
    alias_of: str | None = Field(
        description="The model that orders with this name get; null: it is a model itself."
    )


class OpenAIModelList(OpenAIAnswer):
    object: Literal["list"] = "list"
    data: list[OpenAIModel]
