"""Calls about endpoints and webhooks."""

from collections.abc import Mapping
from datetime import datetime

from takeone._calls import values
from takeone._core.calls import Call, Repeat, path
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

ENDPOINTS = "/api/endpoints"
WEBHOOKS = "/api/webhooks"


def endpoints(filters: Mapping[str, object]) -> Call[Page[Endpoint]]:
    return Call("GET", ENDPOINTS, Page[Endpoint], query=values.query(filters))


def create_endpoint(fields: Mapping[str, object]) -> Call[CreatedEndpoint]:
    """Create an endpoint. A repeated call is refused: an address exists once."""
    return Call("POST", ENDPOINTS, CreatedEndpoint, body=values.body(fields), repeat=Repeat.NEVER)


def get_endpoint(endpoint_id: str) -> Call[Endpoint]:
    return Call("GET", path(f"{ENDPOINTS}/{{}}", endpoint_id), Endpoint)


def change_endpoint(endpoint_id: str, fields: Mapping[str, object]) -> Call[Endpoint]:
    place = path(f"{ENDPOINTS}/{{}}", endpoint_id)
    return Call("PATCH", place, Endpoint, body=values.body(fields))


def delete_endpoint(endpoint_id: str) -> Call[None]:
    return Call("DELETE", path(f"{ENDPOINTS}/{{}}", endpoint_id))


def enable_endpoint(endpoint_id: str) -> Call[Endpoint]:
    return Call("POST", path(f"{ENDPOINTS}/{{}}/enable", endpoint_id), Endpoint)


def disable_endpoint(endpoint_id: str) -> Call[Endpoint]:
    return Call("POST", path(f"{ENDPOINTS}/{{}}/disable", endpoint_id), Endpoint)


def test_endpoint(endpoint_id: str) -> Call[LoggedWebhook]:
    place = path(f"{ENDPOINTS}/{{}}/test", endpoint_id)
    return Call("POST", place, LoggedWebhook, repeat=Repeat.NEVER)


def stream(endpoint_id: str, latest: int) -> str:
    """Return the path of a listening endpoint's stream."""
    place = path(f"{ENDPOINTS}/{{}}/stream", endpoint_id)
    return f"{place}?latest={latest}" if latest else place


def report(
    endpoint_id: str,
    offer: Offer,
    *,
    duration_ms: int,
    status_code: int | None,
    error: str | None,
    excerpt: str,
) -> Call[None]:
    """Report the result of an attempt. A repeated call is refused: it has its result."""
    place = path(f"{ENDPOINTS}/{{}}/results", endpoint_id)
    fields = {
        "event_id": offer.id,
        "delivery": offer.delivery,
        "number": offer.number,
        "duration_ms": duration_ms,
        "status_code": status_code,
        "error": error,
        "excerpt": excerpt,
    }
    return Call("POST", place, body=values.body(fields))


def rotate_endpoint(endpoint_id: str, fields: Mapping[str, object]) -> Call[RotatedSecret]:
    place = path(f"{ENDPOINTS}/{{}}/rotate-secret", endpoint_id)
    return _rotation(place, fields)


def rotate_account(fields: Mapping[str, object]) -> Call[RotatedSecret]:
    return _rotation("/api/webhook-secret/rotate", fields)


def _rotation(place: str, fields: Mapping[str, object]) -> Call[RotatedSecret]:
    """Rotate a secret. A repeated call would end the previous secret's overlap."""
    return Call("POST", place, RotatedSecret, body=values.body(fields), repeat=Repeat.NEVER)


def page(filters: Mapping[str, object]) -> Call[Page[LoggedWebhook]]:
    return Call("GET", WEBHOOKS, Page[LoggedWebhook], query=values.query(filters))


def get(event_id: str) -> Call[WebhookDetail]:
    return Call("GET", path(f"{WEBHOOKS}/{{}}", event_id), WebhookDetail)


def resend(event_id: str) -> Call[LoggedWebhook]:
    """Resend a webhook. A repeated call sends it once more."""
    place = path(f"{WEBHOOKS}/{{}}/resend", event_id)
    return Call("POST", place, LoggedWebhook, repeat=Repeat.NEVER)


def resend_range(fields: Mapping[str, object]) -> Call[Resent]:
    times = {
        name: values.plain_time(value) if isinstance(value, datetime) else value
        for name, value in fields.items()
    }
    return Call("POST", f"{WEBHOOKS}/resend", Resent, body=values.body(times), repeat=Repeat.NEVER)
