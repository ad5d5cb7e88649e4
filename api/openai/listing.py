"""List videos, and the models that make them."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from api.auth.authentication import CurrentUser
from api.http.ids import EXECUTION_ID
from api.http.openapi import problems
from api.http.problems.documents import ProblemError, not_found
from api.openai.models import offered_models
from api.openai.presenter import video_response
from api.openai.schemas import OpenAIModel, OpenAIModelList, VideoList
from api.openai.sizes import frames
from api.openai.videos import TAG, VIDEOS_PATH
from api.services import Services, services_of
from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId, UserId
from core.ordering.errors import FaultCode
from core.ordering.planning.catalogue import get_catalogue
from core.ordering.planning.plan import aspect_ratios
from core.providers.models import Model
from core.store.executions.views.videos import has_video
from core.store.executions.views.videos import list_videos as read_videos

router = APIRouter(prefix="/v1", tags=[TAG])


class ListVideosQuery(BaseModel):
    """Query parameters as the clients send them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    after: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="The `last_id` of the previous page."
    )
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = Field("desc", description="By time; `desc`: newest first.")


@router.get(
    "/videos",
    summary="List videos with an OpenAI client",
    responses=problems(
        FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST, FailureCode.NOT_FOUND
    ),
)
async def list_videos(
    request: Request, user_id: CurrentUser, query: Annotated[ListVideosQuery, Query()]
) -> VideoList:
    """Return your videos, also those that were ordered by `POST /api/generate-video`."""
    services = services_of(request)
    after = None if query.after is None else await _own_id(services, user_id, query.after)
    async with services.database.reading_as(user_id) as conn:
        page = await read_videos(
            conn, user_id, after=after, limit=query.limit, newest_first=query.order == "desc"
        )
    videos = [video_response(video, services) for video in page.data]
    return VideoList(
        data=videos,
        first_id=videos[0].id if videos else None,
        last_id=videos[-1].id if videos else None,
        has_more=page.has_more,
    )


async def _own_id(services: Services, user_id: UserId, after: str) -> ExecutionId:
    """Return the id of the user's video, also of a deleted one: a page may end with it."""
    if EXECUTION_ID.fullmatch(after):
        async with services.database.reading_as(user_id) as conn:
            if await has_video(conn, user_id, ExecutionId(after)):
                return ExecutionId(after)
    raise not_found(VIDEOS_PATH)


@router.get(
    "/models",
    summary="List models with an OpenAI client",
    responses=problems(FailureCode.UNAUTHENTICATED),
)
async def list_video_models(request: Request, user_id: CurrentUser) -> OpenAIModelList:
    """Return the models that `model` of a video may name, the default first; aliases come last."""
    return OpenAIModelList(data=await _offered(services_of(request), user_id))


@router.get(
    "/models/{model_id:path}",
    summary="Get a model with an OpenAI client",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def get_video_model(request: Request, user_id: CurrentUser, model_id: str) -> OpenAIModel:
    """Return a model or an alias that `model` of a video may name."""
    for model in await _offered(services_of(request), user_id):
        if model.id == model_id:
            return model
    detail = "is not a video model of this service; GET /v1/models lists them"
    error = {"field": "model", "detail": detail, "code": FaultCode.UNKNOWN_MODEL}
    raise ProblemError(FailureCode.NOT_FOUND, members={"errors": [error]})


async def _offered(services: Services, user_id: UserId) -> list[OpenAIModel]:
    catalogue = await get_catalogue(services.ordering, user_id)
    models = [_model(provider.name, model) for provider, model in offered_models(catalogue)]
    aliases = [
        model.model_copy(update={"id": name, "alias_of": model.id})
        for name, target in services.model_aliases.items()
        for model in models
        if model.id == target
    ]
    return [*models, *aliases]


def _model(provider: str, model: Model) -> OpenAIModel:
    read_on = max(datetime.fromisoformat(price.read_on) for price in model.prices)
    return OpenAIModel(
        id=model.id,
        created=int(read_on.replace(tzinfo=UTC).timestamp()),
        owned_by=provider,
        seconds=[str(each) for each in model.choices("duration_seconds")],
        sizes=[each.size for each in frames(model.choices("resolution"), aspect_ratios([model]))],
        alias_of=None,
    )
