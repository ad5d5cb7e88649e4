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
from takeone._core.events import offer_of
from takeone._core.streams import Following
from takeone._sync.sender import Sender
from takeone._sync.streams import follow
from takeone.models.base import Page
from takeone.models.webhooks import (
    CreatedEndpoint,
    Endpoint,
    LoggedWebhook,
    Offer,
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

    def create(self, **fields: Unpack[NewEndpoint]) -> CreatedEndpoint:
        """Create an endpoint: with `url`, or a listening one with `kind="stream"`."""
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

    def listen(self, endpoint_id: str, *, latest: int = 0) -> Iterator[Offer]:
        """Iterate over the webhooks of a listening endpoint, without an end.

        POST each to your receiver and report the result within 15 seconds, or the attempt has
        failed. latest: show as many of the account's latest webhooks first, at most 20. Raise
        CallError if the service refuses, or is unreachable for five minutes.
        """
        following = Following(webhooks.stream(endpoint_id, latest), self._sender.settings)
        streams = 0
        for event in follow(self._sender, following):
            if event is None:
                streams += 1
            elif event.type == "webhook":
                offer = offer_of(Offer, event)
                if offer.number or streams == 1:
                    yield offer

    def report(
        self,
        endpoint_id: str,
        offer: Offer,
        *,
        duration_ms: int,
        status_code: int | None = None,
        error: str | None = None,
        excerpt: str = "",
    ) -> None:
        """Report what the receiver answered, or with `error` why there was no answer.

        error: "timed_out", "connection_refused", "connection_failed" or "no_valid_answer". Raise
        NotFoundError if the attempt has a result already, or its time is over.
        """
        call = webhooks.report(
            endpoint_id,
            offer,
            duration_ms=duration_ms,
            status_code=status_code,
            error=error,
            excerpt=excerpt,
        )
        self._sender.send(call)

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
