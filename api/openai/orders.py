"""Order a video of /v1: the same order as POST /api/generate-video, with OpenAI's defaults."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastapi import Request

from api.auth.authentication import Caller
from api.executions.presenter import status_url
from api.executions.responses import Accepted
from api.openai.bodies import CreateVideo, canonical
from api.openai.models import offered_models
from api.openai.presenter import follows_picture
from api.openai.sizes import (
    default_ratio,
    default_resolution,
    default_seconds,
    frames,
    resolution_of,
)
from api.services import Services
from core.domain.ids import ExecutionId
from core.domain.money import nano_usd
from core.domain.plans import StepKind
from core.domain.states import Surface
from core.ordering.accept import Order, accept_order
from core.ordering.assets.sources import RequestedSource
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError
from core.ordering.idempotency import Answer, IdempotencyKey
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.planning.plan import IMAGE, VideoRequest, aspect_ratios, video_models
from core.providers.models import Model
from core.providers.registry import Providers
from core.store.executions.unkeyed_orders import UnkeyedOrder

RETRY_COUNT: Final = "X-Stainless-Retry-Count"
"""How often the client has sent the request before. Only OpenAI's clients send it."""
_COUNT: Final = re.compile(r"[0-9]{1,3}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOrder:
    """An order that was read. picture: its start picture. files: the hash of the form's file."""

    body: CreateVideo
    picture: RequestedSource | None
    file_sha256: str | None


async def order_video(
    request: Request,
    services: Services,
    caller: Caller,
    order: VideoOrder,
    *,
    key: str | None,
    arrived: float,
) -> Answer:
    """Accept an order and return its stored answer, which names its execution.

    arrived: when the request did, by the monotonic clock. A repeated request without a key gets the
    execution of its earlier attempt. Raises OrderingError; then nothing was held or started.
    """
    body = order.body
    catalogue = await get_catalogue(services.ordering, caller.user_id)
    named = body.model_copy(update={"model": _model(catalogue, services.model_aliases, body)})
    planned = _planned(catalogue, named, order.picture)
    content = [canonical(body), order.file_sha256 or ""]

    def render(execution_id: ExecutionId) -> bytes:
        answer = Accepted(
            execution_id=execution_id, status_url=status_url(services.public_base_url, execution_id)
        )
        return answer.model_dump_json(by_alias=True).encode()

    return await accept_order(
        services.ordering,
        Order(
            user_id=caller.user_id,
            key_id=caller.key_id,
            request=planned,
            max_cost_nano_usd=nano_usd(body.max_cost) if body.max_cost is not None else None,
            webhook_url=body.webhook,
            metadata=body.metadata or {},
            idempotency_key=None
            if key is None
            else IdempotencyKey(key=key, request_sha256=_digest(*content)),
            unkeyed=None
            if key is not None
            else UnkeyedOrder(
                fingerprint=_digest(caller.user_id, caller.name, *content),
                retry_count=_retry_count(request),
                arrived=arrived,
            ),
            surface=Surface.OPENAI,
        ),
        render,
    )


def _digest(*parts: str) -> bytes:
    digest = hashlib.sha256(b"POST /v1/videos")
    for part in parts:
        digest.update(b"\0" + part.encode())
    return digest.digest()


def _retry_count(request: Request) -> int:
    text = request.headers.get(RETRY_COUNT, "")
    return int(text) if _COUNT.fullmatch(text) else 0


def _model(catalogue: Providers, aliases: Mapping[str, str], body: CreateVideo) -> str | None:
    """Return the model that an order names, also by an alias. Raises InvalidFieldsError."""
    if body.model is None:
        return None
    model = aliases.get(body.model, body.model)
    offered = [each.id for _, each in offered_models(catalogue)]
    if model in offered:
        return model
    names = [name for name, target in aliases.items() if target in offered]
    raise InvalidFieldsError(
        FieldError(
            field="model",
            detail="is not a video model of this service",
            allowed=[*offered, *names],
            code=FaultCode.UNKNOWN_MODEL,
        )
    )


def _planned(
    catalogue: Providers, body: CreateVideo, picture: RequestedSource | None
) -> VideoRequest:
    """Return the request with a length and a frame of its models. Raises InvalidFieldsError."""
    request = VideoRequest(
        prompt=body.prompt,
        seed=body.seed,
        image_model=body.image_model,
        video_model=body.model,
        text_to_video=picture is None and _takes_no_picture(catalogue, body.model),
        files={} if picture is None else {IMAGE: picture},
    )
    models = video_models(catalogue, request)
    resolution, ratio = _frame(body, models, own_picture=picture is not None)
    return replace(
        request,
        duration_seconds=_duration(body, models[-1]),
        resolution=resolution,
        aspect_ratio=ratio,
    )


def _takes_no_picture(catalogue: Providers, model_id: str | None) -> bool:
    return any(
        model.id == model_id and not model.takes(IMAGE)
        for _, model in catalogue.models(StepKind.VIDEO)
    )


def _duration(body: CreateVideo, model: Model) -> int | None:
    choices = model.choices("duration_seconds")
    if body.seconds is None:
        return default_seconds(choices)
    if int(body.seconds) in choices:
        return int(body.seconds)
    raise _not_supported("seconds", [str(each) for each in choices])


def _frame(
    body: CreateVideo, models: list[Model], *, own_picture: bool
) -> tuple[str | None, str | None]:
    """Return the resolution and the aspect ratio of an order."""
    video = models[-1]
    resolutions = video.choices("resolution")
    follows = own_picture and follows_picture(video)
    ratios = () if follows else aspect_ratios(models)
    if body.size is None:
        return (
            body.resolution or default_resolution(resolutions),
            body.aspect_ratio or default_ratio(ratios),
        )
    if body.resolution is not None or body.aspect_ratio is not None:
        detail = "must not be combined with resolution and aspect_ratio"
        raise InvalidFieldsError(FieldError(field="size", detail=detail))
    if follows:  # the picture decides about the shape
        resolution = resolution_of(body.size, resolutions)
        if resolution is None:
            raise _not_supported("size", resolutions, "its shorter side must be a resolution of")
        return resolution, None
    table = frames(resolutions, ratios)
    for each in table:
        if each.size == body.size:
            return each.resolution, each.aspect_ratio
    raise _not_supported("size", [each.size for each in table])


def _not_supported(
    field: str,
    allowed: list[str] | tuple[object, ...],
    what: str = "must be a value that is supported by",
) -> InvalidFieldsError:
    detail = f"{what} the model: {', '.join(map(str, allowed))}"
    if not allowed:
        detail = "is not supported by the model, which leaves no choice"
    return InvalidFieldsError(
        FieldError(field=field, detail=detail, allowed=list(allowed), code=FaultCode.NOT_SUPPORTED)
    )
