"""Rows that a delivery needs: a user with a default secret, an ended execution, and its event."""

from dataclasses import dataclass

from core.domain.ids import (
    EventId,
    ExecutionId,
    UserId,
    new_event_id,
    new_execution_id,
    new_user_id,
)
from core.domain.messages.webhooks import DeliveryOrder, EventType
from core.platform.crypto.sealing import Sealer
from core.store.database import Database
from core.store.secrets.secrets import WEBHOOK_SECRET, insert_secret, seal_secret
from core.store.webhooks.events import NewWebhook, insert_webhook
from core.store.webhooks.signing_secrets import seal_request_secret

SEALER = Sealer([bytes(range(32))])
DEFAULT_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = '{"executionId":"exec_1",  "prompt":"Grüße 🎬"}\n'.encode()

INSERT_USER = "INSERT INTO users (user_id, name) VALUES ($1, 'tester')"
INSERT_EXECUTION = """
INSERT INTO executions (execution_id, user_id, type, status, plan, request, estimated_nano_usd, deadline_at, ended_at)
VALUES ($1, $2, 'generate-video', 'completed', '{}', '{}', 0, now(), now())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    user_id: UserId
    execution_id: ExecutionId
    event_id: EventId

    @property
    def order(self) -> DeliveryOrder:
        return DeliveryOrder(user_id=self.user_id, event_id=self.event_id)


async def insert_execution(database: Database) -> tuple[UserId, ExecutionId]:
    """Insert a user whose secret is DEFAULT_SECRET, with one completed execution."""
    user_id, execution_id = new_user_id(), new_execution_id()
    async with database.as_system() as conn:
        await conn.execute(INSERT_USER, user_id)
        await insert_secret(
            conn,
            seal_secret(
                SEALER, DEFAULT_SECRET, kind=WEBHOOK_SECRET, owner_id=user_id, user_id=user_id
            ),
        )
        await conn.execute(INSERT_EXECUTION, execution_id, user_id)
    return user_id, execution_id


def new_webhook(
    user_id: UserId,
    execution_id: ExecutionId,
    *,
    url: str,
    body: bytes = BODY,
    first_attempt_seconds: float = 0.0,
) -> NewWebhook:
    return NewWebhook(
        event_id=new_event_id(),
        execution_id=execution_id,
        generation=1,
        sequence=1,
        user_id=user_id,
        type=EventType.EXECUTION_COMPLETED,
        url=url,
        body=body,
        first_attempt_seconds=first_attempt_seconds,
    )


async def store_webhook(
    database: Database,
    url: str,
    *,
    secret: str | None = None,
    body: bytes = BODY,
    first_attempt_seconds: float = 0.0,
) -> Stored:
    """Store a pending webhook to this address.

    secret: the request's own; None uses the user's default. first_attempt_seconds: the execution's
    workflow makes the first attempt, within this time.
    """
    user_id, _ = await insert_execution(database)
    return await another_webhook(
        database,
        user_id,
        url,
        secret=secret,
        body=body,
        first_attempt_seconds=first_attempt_seconds,
    )


async def another_webhook(
    database: Database,
    user_id: UserId,
    url: str,
    *,
    secret: str | None = None,
    body: bytes = BODY,
    first_attempt_seconds: float = 0.0,
) -> Stored:
    """Store another webhook of the same user, for a new execution."""
    execution_id = new_execution_id()
    async with database.as_system() as conn:
        await conn.execute(INSERT_EXECUTION, execution_id, user_id)
    new = new_webhook(
        user_id, execution_id, url=url, body=body, first_attempt_seconds=first_attempt_seconds
    )
    async with database.as_user(user_id) as conn:
        if secret is not None:
            await insert_secret(conn, seal_request_secret(SEALER, secret, execution_id, user_id))
        assert await insert_webhook(conn, new)
    return Stored(user_id=user_id, execution_id=execution_id, event_id=new.event_id)
