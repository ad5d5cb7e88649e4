"""The fields of orders, for keyword arguments with types."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from typing_extensions import Required, TypedDict

from takeone._calls.values import Amount, Media, Metadata
from takeone.models.account import Scope
from takeone.models.executions import ExecutionStatus


class OrderOptions(TypedDict, total=False):
    """What every order takes. max_cost: in US dollars, retries included."""

    max_cost: Amount | None
    webhook: str | None
    webhook_secret: str | None
    metadata: Metadata | None


class VideoOrder(OrderOptions, total=False):
    """The fields of `POST /api/generate-video`."""

    prompt: Required[str]
    negative_prompt: str | None
    image: Media | None
    end_image: Media | None
    audio: Media | None
    text_to_video: bool | None
    duration: int | None
    resolution: str | None
    aspect_ratio: str | None
    seed: int | None
    image_model: str | None
    video_model: str | None


class ImageOrder(OrderOptions, total=False):
    """The fields of `POST /api/generate-image`."""

    prompt: Required[str]
    model: str | None
    negative_prompt: str | None
    image: Media | None
    aspect_ratio: str | None
    resolution: str | None
    seed: int | None


class AudioOrder(OrderOptions, total=False):
    """The fields of `POST /api/generate-audio`."""

    text: Required[str]
    model: str | None
    voice: str | None
    language: str | None
    speed: float | None
    stability: float | None
    similarity_boost: float | None
    seed: int | None


class TranscriptOrder(OrderOptions, total=False):
    """The fields of `POST /api/transcribe`."""

    source: Required[Media]
    model: str | None
    language: str | None


class ExecutionFilters(TypedDict, total=False):
    """The filters of a list of executions."""

    status: ExecutionStatus | Sequence[ExecutionStatus] | None
    type: str | None
    metadata_key: str | None
    metadata_value: str | None
    created_after: datetime | None
    created_before: datetime | None
    limit: int | None
    cursor: str | None


class WebhookFilters(TypedDict, total=False):
    """The filters of a list of webhooks."""

    execution_id: str | None
    endpoint_id: str | None
    state: str | None
    type: str | None
    limit: int | None
    cursor: str | None


class NewEndpoint(TypedDict, total=False):
    """The fields of a new endpoint. kind: "stream" for a listening endpoint, without a url."""

    kind: str
    url: str
    description: str
    default: bool
    secret: str | None
    headers: dict[str, str] | None


class EndpointChange(TypedDict, total=False):
    """The fields of an endpoint that can be changed."""

    description: str | None
    default: bool | None
    headers: dict[str, str] | None


class NewSpendLimit(TypedDict, total=False):
    """What orders with a key may cost in US dollars, per day and per month in UTC."""

    daily: Amount | None
    monthly: Amount | None


class NewKeyOptions(TypedDict, total=False):
    """The fields of a new API key. spend_limit: not with the scope `admin`."""

    name: Required[str]
    scopes: Sequence[Scope]
    expires_days: int | None
    spend_limit: NewSpendLimit | None


class Rotation(TypedDict, total=False):
    """The fields of a rotation. overlap_hours: how long the previous secret also signs."""

    overlap_hours: int
    secret: str | None


class ResendRange(TypedDict, total=False):
    """Which webhooks to resend, by the time of their event."""

    from_: Required[datetime]
    to: Required[datetime]
    state: Literal["failed", "delivered"]
    endpoint_id: str | None
    cursor: str | None
