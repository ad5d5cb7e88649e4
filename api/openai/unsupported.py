"""Operations of OpenAI's videos that no model of this service has: refused, and not repeated."""

from typing import Final

from fastapi import APIRouter, Request

from api.auth.authentication import CurrentUser
from api.http.problems.documents import ProblemError, invalid_fields
from core.ordering.errors import FaultCode

ALLOWED: Final = (
    "POST /v1/videos",
    "GET /v1/videos",
    "GET /v1/videos/{id}",
    "GET /v1/videos/{id}/content",
    "POST /v1/videos/{id}/cancel",
    "DELETE /v1/videos/{id}",
    "GET /v1/models",
)

router = APIRouter(prefix="/v1", include_in_schema=False)


@router.post("/videos/edits")
@router.post("/videos/extensions")
@router.post("/videos/characters")
@router.get("/videos/characters/{character_id}")
@router.post("/videos/{video_id}/remix")
async def refuse(request: Request, _user_id: CurrentUser) -> None:
    """Answer 400, which the clients do not repeat; 501 would be."""
    raise _unsupported(request.url.path.rstrip("/").split("/"))


def _unsupported(path: list[str]) -> ProblemError:
    operation = "characters" if "characters" in path else path[-1]
    return invalid_fields(
        [
            {
                "field": operation,
                "detail": "is not supported by this service",
                "code": FaultCode.NOT_SUPPORTED,
                "allowed": list(ALLOWED),
            }
        ]
    )
