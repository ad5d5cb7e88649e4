"""Orders of POST /api/executions: the plan in the body, or the stored one that it names."""

from api.orders.executions import CreateExecutionRequest, PlanOrder, read_template
from api.services import Services
from core.domain.ids import TemplateId, UserId
from core.ordering.errors import FaultCode, FieldError, InvalidFieldsError
from core.ordering.idempotency import Answer, IdempotencyKey, find_replay
from core.store.templates import find_template


async def order_of(services: Services, user_id: UserId, body: CreateExecutionRequest) -> PlanOrder:
    """Return what a body orders. Raises InvalidFieldsError with all errors of form."""
    order = body.order()
    if order is not None:
        return order
    template_id = TemplateId(body.template or "")
    async with services.database.reading_as(user_id) as conn:
        template = await find_template(conn, user_id, template_id)
    if template is None:
        raise InvalidFieldsError(
            FieldError(
                field="template",
                detail="is not one of your templates",
                code=FaultCode.UNKNOWN_TEMPLATE,
            )
        )
    return read_template(template_id, template.plan, body.values or {})


async def find_answer_of(
    services: Services, user_id: UserId, key: IdempotencyKey | None
) -> Answer | None:
    """Return the answer that was stored under the key before the template was deleted."""
    if key is None:
        return None
    async with services.database.as_user(user_id) as conn:
        return await find_replay(conn, user_id, key)
