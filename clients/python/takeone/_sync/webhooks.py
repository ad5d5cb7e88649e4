# Made from _async/webhooks.py by make_sync.py. Change that file, and run make_sync.py.
"""Endpoints, and the delivery log of webhooks."""

from collections.abc import Iterator

from typing_extensions import Unpack

from takeone._calls import webhooks
from takeone._calls.bodies import (
    EndpointChange,
    NewEndpoint,
    ResendRange,
    Rotation,
    WebhookFilters,
)
from takeone._sync.sender import Sender
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

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Iterator[Endpoint]:
        """Iterate over endpoints, newest first."""
        return self._sender.pages(webhooks.endpoints({"limit": limit, "cursor": cursor}))

    def page(self, *, limit: int | None = None, cursor: str | None = None) -> Page[Endpoint]:
        """Return one page of endpoints."""
        return self._sender.send(webhooks.endpoints({"limit": limit, "cursor": cursor}))

    def create(self, **fields: Unpack[NewEndpoint]) -> Endpoint:
        """Create an endpoint."""
        return self._sender.send(webhooks.create_endpoint(fields))

    def get(self, endpoint_id: str) -> Endpoint:
        """Return an endpoint."""
        return self._sender.send(webhooks.get_endpoint(endpoint_id))

    def change(self, endpoint_id: str, **fields: Unpack[EndpointChange]) -> Endpoint:
        """Change the given fields of an endpoint."""
        return self._sender.send(webhooks.change_endpoint(endpoint_id, fields))

    def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint; its delivery log stays."""
        self._sender.send(webhooks.delete_endpoint(endpoint_id))

    def enable(self, endpoint_id: str) -> Endpoint:
        """Enable an endpoint. Repeating is safe."""
        return self._sender.send(webhooks.enable_endpoint(endpoint_id))

    def disable(self, endpoint_id: str) -> Endpoint:
        """Disable an endpoint. Repeating is safe."""
        return self._sender.send(webhooks.disable_endpoint(endpoint_id))

    def test(self, endpoint_id: str) -> LoggedWebhook:
        """Send a webhook of the type `endpoint.test`."""
        return self._sender.send(webhooks.test_endpoint(endpoint_id))

    def rotate_secret(self, endpoint_id: str, **fields: Unpack[Rotation]) -> RotatedSecret:
        """Replace the secret of an endpoint."""
        return self._sender.send(webhooks.rotate_endpoint(endpoint_id, fields))


class Webhooks:
    """The delivery log. `takeone.webhooks.verify` verifies a received webhook."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def list(self, **filters: Unpack[WebhookFilters]) -> Iterator[LoggedWebhook]:
        """Iterate over webhooks, newest first."""
        return self._sender.pages(webhooks.page(filters))

    def page(self, **filters: Unpack[WebhookFilters]) -> Page[LoggedWebhook]:
        """Return one page of webhooks."""
        return self._sender.send(webhooks.page(filters))

    def get(self, event_id: str) -> WebhookDetail:
        """Return a webhook with its body and its attempts."""
        return self._sender.send(webhooks.get(event_id))

    def resend(self, event_id: str) -> LoggedWebhook:
        """Send a webhook again, with the same id and body."""
        return self._sender.send(webhooks.resend(event_id))

    def resend_range(self, **fields: Unpack[ResendRange]) -> Resent:
        """Resend the webhooks of a time range, at most a thousand.

        Repeat the call with `next_cursor` as `cursor` while there is a next one.
        """
        return self._sender.send(webhooks.resend_range(fields))

    def rotate_secret(self, **fields: Unpack[Rotation]) -> RotatedSecret:
        """Replace the secret of the account."""
        return self._sender.send(webhooks.rotate_account(fields))
