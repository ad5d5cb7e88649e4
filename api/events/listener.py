"""The LISTEN connection of an API process, which reconnects."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from core.domain.ids import EndpointId, EventId, ExecutionId, UserId
from core.platform.observability.logging import get_logger
from core.store.database import DATABASE_ERRORS, Database
from core.store.events.execution_events import CHANNEL

RECONNECT_SECONDS: Final = 1.0
CHECK_SECONDS: Final = 10.0
"""How often the connection is checked: a half-open one would stay silent."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A notification: an execution has new events, a webhook has changed or waits."""

    user_id: UserId
    execution_id: ExecutionId | None = None
    event_id: EventId | None = None
    endpoint_id: EndpointId | None = None


def parse_note(payload: str) -> Note:
    name, user_id, *_ = payload.split(" ")
    if name.startswith("exec_"):
        return Note(user_id=UserId(user_id), execution_id=ExecutionId(name))
    if name.startswith("end_"):
        return Note(user_id=UserId(user_id), endpoint_id=EndpointId(name))
    return Note(user_id=UserId(user_id), event_id=EventId(name))


async def listen(
    database: Database, on_note: Callable[[Note], None], on_connected: Callable[[], None]
) -> None:
    """Listen until cancelled. on_connected: notifications before it may be lost."""
    while True:
        try:
            async with database.listening_connection() as connection:
                await connection.add_listener(
                    CHANNEL, lambda _c, _p, _ch, payload: on_note(parse_note(str(payload)))
                )
                on_connected()
                while True:
                    await asyncio.sleep(CHECK_SECONDS)
                    await connection.fetchval("SELECT 1", timeout=CHECK_SECONDS)
        except DATABASE_ERRORS as error:
            log.warning("streams.listener_interrupted", reason=type(error).__name__)
        except Exception as error:  # recorded: the streams continue with comparisons
            log.exception("streams.listener_crashed", reason=repr(error))
        await asyncio.sleep(RECONNECT_SECONDS)
