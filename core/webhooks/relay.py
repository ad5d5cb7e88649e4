"""One attempt through a listening endpoint: its listener POSTs and reports the result."""

import asyncio
import time
from typing import Final

from core.domain.ids import EndpointId
from core.domain.messages.webhooks import DeliveryOrder
from core.store.database import Database
from core.store.webhooks.listening import OFFER_SECONDS, get_result, notify_listener
from core.webhooks.sender import Answer, AttemptError

POLL_SECONDS: Final = 0.25


async def relay_webhook(
    database: Database, order: DeliveryOrder, number: int, endpoint_id: EndpointId
) -> Answer:
    """Offer an attempt that has begun to the listeners, and return what one of them reports.

    Without a report in time the attempt has failed. Errors of PostgreSQL are raised.
    """
    began = time.monotonic()
    async with database.as_user(order.user_id) as conn:
        await notify_listener(conn, order.user_id, endpoint_id)
    while time.monotonic() - began < OFFER_SECONDS:
        await asyncio.sleep(POLL_SECONDS)
        async with database.as_user(order.user_id) as conn:
            reported = await get_result(conn, order, number)
        if reported is not None:
            return Answer(
                duration_ms=reported.duration_ms or 0,
                status_code=reported.status_code,
                error=AttemptError(reported.error) if reported.error is not None else None,
                excerpt=reported.response_excerpt,
            )
    return Answer(
        duration_ms=round((time.monotonic() - began) * 1000), error=AttemptError.NO_LISTENER
    )
