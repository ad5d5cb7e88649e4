"""Endpoints, and the delivery log of webhooks."""

from datetime import datetime
from typing import Any

from pydantic import Field

from takeone.models.base import Model


class Endpoint(Model):
    """An address that receives webhooks, or a listening endpoint (kind "stream")."""

    id: str
    kind: str = "url"
    url: str
    description: str
    default: bool
    own_secret: bool
    own_headers: bool
    previous_secret_until: datetime | None
    state: str
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    created_at: datetime


class CreatedEndpoint(Endpoint):
    """A new endpoint. secret: of a listening endpoint; no other answer contains it."""

    secret: str | None = Field(None, repr=False)


class Offer(Model):
    """A webhook for the listener of an endpoint, signed just now.

    body: the exact text to POST with these headers. number: of the attempt; 0 for a webhook that is
    only shown again, whose result is not reported.
    """

    id: str
    type: str
    delivery: int
    number: int
    body: str
    headers: dict[str, str]


class RotatedSecret(Model):
    """A new signing secret, which no other answer contains."""

    secret: str = Field(repr=False)
    previous_until: datetime | None


class LoggedWebhook(Model):
    """An event for an endpoint, and the state of its delivery."""

    id: str
    type: str
    endpoint_id: str
    url: str
    execution_id: str | None
    generation: int | None
    sequence: int | None
    state: str
    failed_reason: str | None
    delivery: int
    attempts: int
    last_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    ended_at: datetime | None


class Attempt(Model):
    """One attempt to deliver a webhook."""

    delivery: int
    number: int
    started_at: datetime
    duration_ms: int | None
    status_code: int | None
    error: str | None
    response_excerpt: str | None


class WebhookDetail(LoggedWebhook):
    """A webhook with its body and its attempts."""

    body: dict[str, Any]
    attempt_log: list[Attempt]


class Resent(Model):
    """A page of resends. skipped: their endpoint is disabled or deleted."""

    resent: int
    skipped: int
    next_cursor: str | None
