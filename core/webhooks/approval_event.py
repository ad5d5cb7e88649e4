"""The event of an approval that begins to wait."""

from core.domain.ids import approval_event_id
from core.domain.messages.webhooks import DeliveryOrder, EventType
from core.domain.webhook_payload import ExecutionEvent, execution_body
from core.store.database import Connection
from core.store.executions.views.status import find_execution
from core.store.jobs.jobs import JobRecord
from core.store.webhooks.events import NewWebhook, insert_webhook, next_sequence
from core.webhooks.asset_links import AssetLinks
from core.webhooks.waiting import waiting_json


async def insert_approval_event(
    conn: Connection, job: JobRecord, links: AssetLinks
) -> DeliveryOrder | None:
    """Store the event in the transaction that opens the approval; return its delivery.

    None: the execution has no webhook. Repeating is safe: an approval has one event.
    """
    execution = await find_execution(conn, job.user_id, job.execution_id)
    if execution is None or execution.webhook_url is None:
        return None
    approval = next(item for item in execution.approvals if item.step == job.step_name)
    event_id = approval_event_id(job.job_id)
    event = ExecutionEvent(
        event_id=event_id,
        type=EventType.EXECUTION_WAITING,
        execution_id=job.execution_id,
        generation=execution.generation,
        sequence=await next_sequence(conn, job.execution_id, execution.generation),
        status=execution.status,
        result=None,
        error=None,
        estimated_nano_usd=execution.estimated_nano_usd,
        held_nano_usd=execution.held_nano_usd,
        settled_nano_usd=execution.settled_nano_usd,
        saved_nano_usd=execution.saved_nano_usd,
        final=False,
        metadata=execution.metadata,
        waiting_for=waiting_json(approval, execution.held_by_step, links),
    )
    webhook = NewWebhook(
        event_id=event_id,
        execution_id=job.execution_id,
        generation=execution.generation,
        sequence=event.sequence,
        user_id=job.user_id,
        type=event.type,
        url=execution.webhook_url,
        body=execution_body(event),
    )
    await insert_webhook(conn, webhook)
    return DeliveryOrder(user_id=job.user_id, event_id=event_id)
