"""An endpoint's own headers in the attempts to deliver a webhook."""

from temporalio.exceptions import ApplicationError

from core.platform.crypto.sealing import Sealer
from core.store.database import Database
from core.store.webhooks.events import get_webhook
from core.store.webhooks.signing_secrets import set_own_headers
from tests.activities.test_webhooks import SEALER, attempt, attempts_of, database, store_webhook
from tests.support.receiver import Receiver

__all__ = ["database"]  # a fixture


async def test_attempt_sends_the_headers_of_the_endpoint(database: Database) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        async with database.as_user(stored.user_id) as conn:
            endpoint_id = (await get_webhook(conn, stored.event_id)).endpoint_id
            own = {"authorization": "Bearer mine", "webhook-id": "forged"}
            await set_own_headers(conn, SEALER, endpoint_id, stored.user_id, own)
        await attempt(database, stored.order)
    (request,) = receiver.received
    assert request.headers["authorization"] == "Bearer mine"
    assert request.headers["webhook-id"] == stored.event_id


async def test_attempt_with_headers_that_cannot_be_opened_sends_nothing(
    database: Database,
) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        async with database.as_user(stored.user_id) as conn:
            endpoint_id = (await get_webhook(conn, stored.event_id)).endpoint_id
            lost = Sealer([b"l" * 32])
            await set_own_headers(conn, lost, endpoint_id, stored.user_id, {"authorization": "x"})
        assert isinstance(await attempt(database, stored.order), ApplicationError)
    assert receiver.received == []
    assert [tried.error for tried in await attempts_of(database, stored)] == ["secret_unusable"]
