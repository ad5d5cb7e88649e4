"""Accept an order: everything that makes the answer true, in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.domain.ids import ExecutionId, KeyId, UserId, new_execution_id
from core.domain.messages.executions import ExecutionOrder
from core.domain.money import NanoUsd
from core.domain.plans import prompt_of
from core.domain.states import Surface
from core.ordering.admission.breakers import check_breakers
from core.ordering.admission.limits import STORE_LIMIT_ERRORS, LimitReachedError, explain_limit
from core.ordering.admission.queues import check_provider_queues
from core.ordering.assets.sounds import extract_sounds
from core.ordering.assets.sources import UrlSource, import_sources, imported_files, keep_assets
from core.ordering.errors import FieldError, InvalidFieldsError, MaxCostError
from core.ordering.idempotency import (
    Answer,
    IdempotencyKey,
    find_adopted,
    find_replay,
    store_answer,
    store_unkeyed,
)
from core.ordering.planning.catalogue import get_catalogue_in
from core.ordering.planning.requests import PlanRequest, plan_without
from core.ordering.planning.steps import PricedPlan
from core.ordering.planning.voices import unknown_voices
from core.ordering.services import OrderingServices
from core.ordering.workflow_starts import try_start_execution
from core.platform.egress.rules import OutboundRules
from core.platform.observability import tracing
from core.platform.observability.logging import get_logger
from core.store.database import Connection
from core.store.executions.executions import NewExecution, insert_execution
from core.store.executions.unkeyed_orders import UnkeyedOrder
from core.store.recovery.start_memo import AcceptedRows, get_accepted
from core.store.webhooks.endpoints import TOO_MANY_ENDPOINTS, may_have_endpoint
from core.store.webhooks.signing_secrets import seal_request_secret

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A user's request with its conditions.

    key_id: the API key of the request, for whose spend limit the order counts; None: a token.
    max_cost_nano_usd: the most that the execution may cost over all its generations. webhook_url:
    None means the user's default endpoint. webhook_secret: None means the endpoint's, else the
    user's. unkeyed: of an order without a key, which later attempts of the same call find again.
    surface: where it was ordered.
    """

    user_id: UserId
    key_id: KeyId | None
    request: PlanRequest
    max_cost_nano_usd: NanoUsd | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    idempotency_key: IdempotencyKey | None = None
    unkeyed: UnkeyedOrder | None = None
    surface: Surface | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedExecution:
    """A committed order.

    has_slot: it may run at once; otherwise it is started when another execution of the user has
    ended. accepted: the rows, if they were read in the same transaction.
    """

    order: ExecutionOrder
    prompt: str
    body: bytes
    has_slot: bool
    accepted: AcceptedRows | None = None


Render = Callable[[ExecutionId], bytes]
"""Return the body of the answer; it is stored with the order."""


async def accept_order(services: OrderingServices, order: Order, render: Render) -> Answer:
    """Accept an order and start its workflow, or return the answer stored under its key.

    Files at URLs are imported first, and the sound of videos is extracted where only that is used.
    Voices are read from their provider. The reconciler starts what could not be started here.
    Raises OrderingError; then nothing was held or started.
    """
    files, sounds = order.request.files, order.request.sounds
    if sounds or any(isinstance(file, UrlSource) for file in files.values()):
        async with services.database.as_user(order.user_id) as conn:
            replay = await _find_earlier(conn, order)
        if replay is not None:
            return replay
    faults = await unknown_voices(services, order.user_id, order.request.voiced)
    sources = await import_sources(services.imports, order.user_id, files)
    if sounds:
        sources = await extract_sounds(services.imports, order.user_id, sounds, sources)
    order = replace(order, request=order.request.with_sources(sources))
    try:
        async with services.database.as_user(order.user_id) as conn:
            replay = await _find_earlier(conn, order)
            if replay is not None:
                return replay
            queued = await _queue(services, conn, order, faults, render)
    except LimitReachedError as reached:
        raise await explain_limit(services, order.user_id, reached) from None
    tracing.note(execution_id=queued.order.execution_id, generation=1)
    log.info(
        "execution.accepted",
        execution_id=queued.order.execution_id,
        user_id=order.user_id,
        has_slot=queued.has_slot,
    )
    if queued.has_slot:
        await try_start_execution(
            services.temporal,
            services.database,
            queued.order,
            prompt=queued.prompt,
            accepted=queued.accepted,
        )
    return Answer(body=queued.body)


async def _find_earlier(conn: Connection, order: Order) -> Answer | None:
    """Return the answer to an earlier attempt of the order; otherwise lock it."""
    if order.idempotency_key is not None:
        return await find_replay(conn, order.user_id, order.idempotency_key)
    return await find_adopted(conn, order.user_id, order.unkeyed)


async def _queue(
    services: OrderingServices,
    conn: Connection,
    order: Order,
    faults: Sequence[FieldError],
    render: Render,
) -> QueuedExecution:
    """Plan, price and hold the order, and write its rows and its answer.

    faults: of its fields, known before. Raises InvalidFieldsError with these and the others.
    """
    check_webhook_url(services.outbound, order.webhook_url)
    await _check_endpoints(conn, order)
    catalogue = await get_catalogue_in(conn, services.providers, order.user_id)
    assets = await keep_assets(conn, order.user_id, imported_files(order.request.files).values())
    plan = plan_without(faults, order.request, catalogue, assets)
    check_max_cost(plan, order.max_cost_nano_usd)
    new = _new_execution(services, order, plan)
    body = render(new.execution_id)
    await store_answer(conn, order.user_id, order.idempotency_key, body)
    await check_breakers(conn, order.user_id, [step.providers for step in plan.steps])
    await check_provider_queues(conn, order.user_id, plan.plan.steps, services.limits)
    accepted: AcceptedRows | None = None

    async def read() -> None:
        nonlocal accepted
        await store_unkeyed(conn, order.user_id, new.execution_id, order.unkeyed, body)
        accepted = await get_accepted(conn, new.execution_id)

    try:
        has_slot = await insert_execution(conn, new, services.limits, read=read)
    except STORE_LIMIT_ERRORS as error:
        raise LimitReachedError(error, plan.worst_nano_usd) from None
    return QueuedExecution(
        order=ExecutionOrder(
            execution_id=new.execution_id, user_id=order.user_id, generation=1, plan=new.plan
        ),
        prompt=prompt_of(new.request),
        body=body,
        has_slot=has_slot,
        accepted=accepted,
    )


def check_webhook_url(rules: OutboundRules, url: str | None) -> None:
    """Check the address itself. Names are resolved and checked at each delivery attempt."""
    reason = rules.url_refusal(url) if url is not None else None
    if reason is not None:
        raise InvalidFieldsError(FieldError(field="webhook", detail=reason))


async def _check_endpoints(conn: Connection, order: Order) -> None:
    """Refuse an address that would need one endpoint too many when its webhook is due."""
    if order.webhook_url is None:
        return
    if not await may_have_endpoint(conn, order.user_id, order.webhook_url):
        raise InvalidFieldsError(FieldError(field="webhook", detail=TOO_MANY_ENDPOINTS))


def check_max_cost(plan: PricedPlan, max_cost_nano_usd: NanoUsd | None) -> None:
    if max_cost_nano_usd is not None and plan.worst_nano_usd > max_cost_nano_usd:
        raise MaxCostError(max_cost_nano_usd, plan.worst_costs)


def _new_execution(services: OrderingServices, order: Order, plan: PricedPlan) -> NewExecution:
    execution_id = new_execution_id()
    secret = order.webhook_secret
    return NewExecution(
        execution_id=execution_id,
        user_id=order.user_id,
        plan=plan.plan,
        steps=plan.steps,
        request=order.request.to_json(),
        metadata=order.metadata,
        webhook_url=order.webhook_url,
        webhook_secret=None
        if secret is None
        else seal_request_secret(services.secrets, secret, execution_id, order.user_id),
        deadline_seconds=plan.deadline_seconds,
        max_cost_nano_usd=order.max_cost_nano_usd,
        surface=order.surface,
        key_id=order.key_id,
    )
