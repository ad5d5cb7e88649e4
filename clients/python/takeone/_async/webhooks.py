"""Endpoints, and the delivery log of webhooks."""

from collections.abc import AsyncIterator

from typing_extensions import Unpack

from takeone._async.sender import Sender
from takeone._calls import webhooks
from takeone._calls.bodies import (
    EndpointChange,
    NewEndpoint,
    ResendRange,
    Rotation,
    WebhookFilters,
)
from takeone.models.base import Page
from takeone.models.webhooks import (
    Endpoint,
    LoggedWebhook,
    Resent,
    RotatedSecret,
    WebhookDetail,
)


class Endpoints:
    """Addresses that receive webhooks."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def list(
        self, *, limit: int | None = None, cursor: str | None = None
    ) -> AsyncIterator[Endpoint]:
        """Iterate over endpoints, newest first."""
        return self._sender.pages(webhooks.endpoints({"limit": limit, "cursor": cursor}))

    async def page(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Endpoint]:
        """Return one page of endpoints."""
        return await self._sender.send(webhooks.endpoints({"limit": limit, "cursor": cursor}))

    async def create(self, **fields: Unpack[NewEndpoint]) -> Endpoint:
        """Create an endpoint."""
        return await self._sender.send(webhooks.create_endpoint(fields))

    async def get(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint."""
        return await self._sender.send(webhooks.get_endpoint(endpoint_id))

    async def change(self, endpoint_id: str, **fields: Unpack[EndpointChange]) -> Endpoint:
        """Change the given fields of an endpoint."""
        return await self._sender.send(webhooks.change_endpoint(endpoint_id, fields))

    async def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint; its delivery log stays."""
        await self._sender.send(webhooks.delete_endpoint(endpoint_id))

    async def enable(self, endpoint_id: str) -> Endpoint:
        """Enable an endpoint. Repeating is safe."""
        return await self._sender.send(webhooks.enable_endpoint(endpoint_id))

    async def disable(self, endpoint_id: str) -> Endpoint:
        """Disable an endpoint. Repeating is safe."""
        return await self._sender.send(webhooks.disable_endpoint(endpoint_id))

    async def test(self, endpoint_id: str) -> LoggedWebhook:
        """Send a webhook of the type `endpoint.test`."""
        return await self._sender.send(webhooks.test_endpoint(endpoint_id))

    async def rotate_secret(self, endpoint_id: str, **fields: Unpack[Rotation]) -> RotatedSecret:
        """Replace the secret of an endpoint."""
        return await self._sender.send(webhooks.rotate_endpoint(endpoint_id, fields))


class Webhooks:
    """The delivery log. `takeone.webhooks.verify` verifies a received webhook."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def list(self, **filters: Unpack[WebhookFilters]) -> AsyncIterator[LoggedWebhook]:
        """Iterate over webhooks, newest first."""
        return self._sender.pages(webhooks.page(filters))

    async def page(self, **filters: Unpack[WebhookFilters]) -> Page[LoggedWebhook]:
        """Return one page of webhooks."""
        return await self._sender.send(webhooks.page(filters))

    async def get(self, event_id: str) -> WebhookDetail:
        """Return a webhook with its body and its attempts."""
        return await self._sender.send(webhooks.get(event_id))

    async def resend(self, event_id: str) -> LoggedWebhook:
        """Send a webhook again, with the same id and body."""
        return await self._sender.send(webhooks.resend(event_id))

    async def resend_range(self, **fields: Unpack[ResendRange]) -> Resent:
        """Resend the webhooks of a time range, at most a thousand.

        Repeat the call with `next_cursor` as `cursor` while there is a next one.
        """
        return await self._sender.send(webhooks.resend_range(fields))

    async def rotate_secret(self, **fields: Unpack[Rotation]) -> RotatedSecret:
        """Replace the secret of the account."""
        return await self._sender.send(webhooks.rotate_account(fields))
