"""Create, get, list and delete templates."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from api.auth.authentication import CurrentUser
from api.executions.parameters import IdempotencyHeader
from api.http.ids import TEMPLATE_ID, decode_template_cursor, encode_cursor
from api.http.openapi import problems
from api.http.problems.documents import invalid_field, not_found
from api.http.problems.texts import TOO_MANY_TEMPLATES
from api.http.strict_json import StrictJsonRoute
from api.services import services_of
from api.templates.checks import TemplateChecker
from api.templates.schemas import (
    ListTemplatesQuery,
    NewTemplateRequest,
    Template,
    TemplateList,
    template_response,
    template_summary,
)
from core.domain.failures import FailureCode
from core.domain.ids import TemplateId, new_template_id
from core.ordering.idempotency import (
    Answer,
    IdempotencyKey,
    find_replay,
    request_sha256,
    store_answer,
)
from core.platform.observability.logging import get_logger
from core.store.templates import (
    MAX_TEMPLATES,
    StoredTemplate,
    TooManyTemplatesError,
    delete_template,
    find_template,
    insert_template,
    list_templates,
)

TEMPLATES_PATH: Final = "/api/templates"

log = get_logger(__name__)
router = APIRouter(prefix="/api", tags=["templates"], route_class=StrictJsonRoute)


@router.post(
    "/templates",
    status_code=201,
    response_model=Template,
    summary="Create a template",
    responses=problems(
        FailureCode.UNAUTHENTICATED,
        FailureCode.PAYLOAD_TOO_LARGE,
        FailureCode.UNSUPPORTED_MEDIA_TYPE,
        FailureCode.INVALID_REQUEST,
        FailureCode.MEDIA_UNSUPPORTED,
        FailureCode.MEDIA_TOO_LARGE,
        FailureCode.IDEMPOTENCY_CONFLICT,
        FailureCode.IDEMPOTENCY_IN_PROGRESS,
    ),
)
async def create_template(
    request: Request,
    user_id: CurrentUser,
    body: NewTemplateRequest,
    idempotency_header: IdempotencyHeader = None,
) -> Response:
    """Store a plan to run it with values: `{"template": id, "values": {…}}`.

    The plan is planned and priced with every choice and limit of its variables, so every value that
    a variable allows is one that its step takes. Nothing is started, held or fetched.
    """
    services = services_of(request)
    key = None
    if idempotency_header is not None:
        digest = request_sha256("templates", body=body.sent)
        key = IdempotencyKey(key=idempotency_header, request_sha256=digest)
    async with services.database.as_user(user_id) as conn:
        replay = await find_replay(conn, user_id, key)
    if replay is not None:
        return _created(replay)
    checker = TemplateChecker(services=services.ordering, user_id=user_id, template=body.template)
    price = await checker.price()
    template_id = new_template_id()
    try:
        async with services.database.as_user(user_id) as conn:
            replay = await find_replay(conn, user_id, key)
            if replay is not None:
                return _created(replay)
            created_at = await insert_template(
                conn, user_id, template_id, name=body.name, plan=body.template.plan, price=price
            )
            stored = StoredTemplate(
                template_id=template_id,
                name=body.name,
                plan=body.template.plan,
                price=price,
                created_at=created_at,
            )
            content = template_response(stored).model_dump_json(by_alias=True).encode()
            await store_answer(conn, user_id, key, content)
    except TooManyTemplatesError:
        raise invalid_field("name", TOO_MANY_TEMPLATES.format(limit=MAX_TEMPLATES)) from None
    log.info("template.created", user_id=user_id, template_id=template_id)
    return _created(Answer(body=content))


def _created(answer: Answer) -> Response:
    """Return the 201, byte for byte as stored under its idempotency key."""
    template = Template.model_validate_json(answer.body)
    headers = {"Location": f"{TEMPLATES_PATH}/{template.id}"}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(
        content=answer.body, status_code=201, media_type="application/json", headers=headers
    )


@router.get(
    "/templates",
    summary="List templates",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.INVALID_REQUEST),
)
async def read_templates(
    request: Request, user_id: CurrentUser, query: Annotated[ListTemplatesQuery, Query()]
) -> TemplateList:
    """Return a page of templates without their plans, newest first. Follow `nextCursor`."""
    before = decode_template_cursor(query.cursor) if query.cursor is not None else None
    async with services_of(request).database.reading_as(user_id) as conn:
        listed = await list_templates(conn, user_id, before_id=before, limit=query.limit + 1)
    page = listed[: query.limit]
    return TemplateList(
        data=[template_summary(item) for item in page],
        next_cursor=encode_cursor(page[-1].template_id) if len(listed) > query.limit else None,
    )


@router.get(
    "/templates/{template_id}",
    summary="Get a template",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def read_template(request: Request, user_id: CurrentUser, template_id: str) -> Template:
    """Return a template with its plan as it was sent."""
    if TEMPLATE_ID.fullmatch(template_id):
        async with services_of(request).database.reading_as(user_id) as conn:
            stored = await find_template(conn, user_id, TemplateId(template_id))
        if stored is not None:
            return template_response(stored)
    raise not_found(TEMPLATES_PATH)


@router.delete(
    "/templates/{template_id}",
    status_code=204,
    response_class=Response,
    summary="Delete a template",
    responses=problems(FailureCode.UNAUTHENTICATED, FailureCode.NOT_FOUND),
)
async def remove_template(request: Request, user_id: CurrentUser, template_id: str) -> Response:
    """Delete a template. Executions that were made from it continue, and can be retried."""
    deleted = False
    if TEMPLATE_ID.fullmatch(template_id):
        async with services_of(request).database.as_user(user_id) as conn:
            deleted = await delete_template(conn, user_id, TemplateId(template_id))
    if not deleted:
        raise not_found(TEMPLATES_PATH)
    log.info("template.deleted", user_id=user_id, template_id=template_id)
    return Response(status_code=204)
