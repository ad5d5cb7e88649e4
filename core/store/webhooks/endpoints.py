"""Endpoints: the URLs that receive a user's webhooks, one of them the default.

Every webhook belongs to the endpoint of its URL, which is created if necessary. A deleted endpoint
keeps its row for the delivery log; its URL can get a new endpoint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import asyncpg

from core.domain.ids import EndpointId, UserId, new_endpoint_id
from core.domain.messages.webhooks import DisabledReason, EndpointKind
from core.store.database import Connection
from core.store.secrets.secrets import delete_secrets

MAX_ENDPOINTS: Final = 10_000
"""Endpoints of a user; a request's `webhook` creates one, too."""
TOO_MANY_ENDPOINTS: Final = (
    f"would be a new endpoint, and the account has {MAX_ENDPOINTS}, the most allowed. Use the URL of "
    "an existing endpoint, or delete endpoints that are no longer used"
)


class EndpointExistsError(Exception):
    """The user has an endpoint with this URL already. Roll back."""

    def __init__(self, endpoint_id: EndpointId) -> None:
        super().__init__(endpoint_id)
        self.endpoint_id = endpoint_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint.

    has_secret: its own secret signs; otherwise the user's default. has_headers: its webhooks carry
    headers of the user. previous_secret_until: the
    previous secret also signs until then.
    failing_since: the start of the current run of failures. last_success_at: to the minute.
    """

    endpoint_id: EndpointId
    kind: EndpointKind
    url: str = field(repr=False)
    description: str
    is_default: bool
    has_secret: bool
    has_headers: bool
    previous_secret_until: datetime | None
    failing_since: datetime | None
    last_success_at: datetime | None
    last_failure_at: datetime | None
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None
    created_at: datetime


FIND_ENDPOINT = """
SELECT endpoint_id, kind, url, description, is_default,
       EXISTS (SELECT FROM secrets AS s WHERE s.owner_id = endpoint_id AND s.kind = 'webhook_secret'
               AND s.valid_until IS NULL) AS has_secret,
       EXISTS (SELECT FROM secrets AS s WHERE s.owner_id = endpoint_id AND s.kind = 'webhook_headers') AS has_headers,
       (SELECT s.valid_until FROM secrets AS s WHERE s.owner_id = endpoint_id AND s.valid_until > now())
           AS previous_secret_until,
       failing_since, last_success_at, last_failure_at, disabled_at, disabled_reason, created_at
FROM endpoints WHERE endpoint_id = $1 AND user_id = $2 AND deleted_at IS NULL
"""


async def find_endpoint(
    conn: Connection, user_id: UserId, endpoint_id: EndpointId
) -> Endpoint | None:
    """Return an endpoint. None: it does not exist, was deleted, or belongs to another user."""
    row = await conn.fetchrow(FIND_ENDPOINT, endpoint_id, user_id)
    return _endpoint(row) if row is not None else None


LIST_ENDPOINTS = """
SELECT endpoint_id, kind, url, description, is_default,
       EXISTS (SELECT FROM secrets AS s WHERE s.owner_id = endpoint_id AND s.kind = 'webhook_secret'
               AND s.valid_until IS NULL) AS has_secret,
       EXISTS (SELECT FROM secrets AS s WHERE s.owner_id = endpoint_id AND s.kind = 'webhook_headers') AS has_headers,
       (SELECT s.valid_until FROM secrets AS s WHERE s.owner_id = endpoint_id AND s.valid_until > now())
           AS previous_secret_until,
       failing_since, last_success_at, last_failure_at, disabled_at, disabled_reason, created_at
FROM endpoints
WHERE user_id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR endpoint_id < $2)
ORDER BY endpoint_id DESC LIMIT $3
"""


async def list_endpoints(
    conn: Connection, user_id: UserId, *, before_id: EndpointId | None, limit: int
) -> Sequence[Endpoint]:
    """List a user's endpoints, newest first. before_id: the last id of the previous page."""
    return [_endpoint(row) for row in await conn.fetch(LIST_ENDPOINTS, user_id, before_id, limit)]


def _endpoint(row: asyncpg.Record) -> Endpoint:
    plain = dict(row)
    reason: str | None = row["disabled_reason"]
    plain["kind"] = EndpointKind(row["kind"])
    plain["disabled_reason"] = DisabledReason(reason) if reason is not None else None
    return Endpoint(**plain)


INSERT_ENDPOINT = """
INSERT INTO endpoints (endpoint_id, user_id, url, description) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, md5(url)) WHERE deleted_at IS NULL DO NOTHING
RETURNING endpoint_id
"""
FIND_BY_URL = "SELECT endpoint_id FROM endpoints WHERE user_id = $1 AND md5(url) = md5($2) AND deleted_at IS NULL"


MAY_HAVE = """
SELECT EXISTS (SELECT FROM endpoints WHERE user_id = $1 AND md5(url) = md5($2) AND deleted_at IS NULL)
    OR (SELECT count(*) FROM (
        SELECT FROM endpoints WHERE user_id = $1 AND deleted_at IS NULL LIMIT $3
    ) AS present) < $3
"""


async def may_have_endpoint(conn: Connection, user_id: UserId, url: str) -> bool:
    """Return whether the user has an endpoint of this URL, or fewer endpoints than allowed.

    Concurrent requests may exceed the limit by their number.
    """
    return await conn.fetchval(MAY_HAVE, user_id, url, MAX_ENDPOINTS)


async def insert_endpoint(
    conn: Connection, user_id: UserId, url: str, description: str
) -> EndpointId:
    """Create an endpoint. Raises EndpointExistsError."""
    made: EndpointId | None = await conn.fetchval(
        INSERT_ENDPOINT, new_endpoint_id(), user_id, url, description
    )
    if made is None:
        raise EndpointExistsError(await conn.fetchval(FIND_BY_URL, user_id, url))
    return made


ENSURE_ENDPOINT = """
INSERT INTO endpoints (endpoint_id, user_id, url) VALUES ($1, $2, $3)
ON CONFLICT (user_id, md5(url)) WHERE deleted_at IS NULL DO UPDATE SET description = endpoints.description
RETURNING endpoint_id
"""
# Changes of a user's default run one after the other.
LOCK_DEFAULT = "SELECT pg_advisory_xact_lock(hashtextextended('endpoints/' || $1::text, 0))"
USER_EXISTS = "SELECT EXISTS (SELECT FROM users WHERE user_id = $1)"
DROP_DEFAULT = "UPDATE endpoints SET is_default = false WHERE user_id = $1 AND is_default"
SET_DEFAULT = """
UPDATE endpoints SET is_default = true WHERE endpoint_id = $1 AND user_id = $2 AND deleted_at IS NULL
"""


async def set_default(conn: Connection, user_id: UserId, endpoint_id: EndpointId | None) -> None:
    """Make an endpoint the only default; None: the user has no default. Repeating is safe."""
    await conn.execute(LOCK_DEFAULT, user_id)
    await conn.execute(DROP_DEFAULT, user_id)
    if endpoint_id is not None:
        await conn.execute(SET_DEFAULT, endpoint_id, user_id)


async def set_webhook_url(conn: Connection, user_id: UserId, url: str | None) -> bool:
    """Make the endpoint of this URL the default, and create it if necessary; None: no default.

    False: no such user. Repeating is safe.
    """
    if not await conn.fetchval(USER_EXISTS, user_id):
        return False
    endpoint_id = (
        None
        if url is None
        else await conn.fetchval(ENSURE_ENDPOINT, new_endpoint_id(), user_id, url)
    )
    await set_default(conn, user_id, endpoint_id)
    return True


SET_DESCRIPTION = (
    "UPDATE endpoints SET description = $2 WHERE endpoint_id = $1 AND deleted_at IS NULL"
)


async def set_description(conn: Connection, endpoint_id: EndpointId, description: str) -> None:
    await conn.execute(SET_DESCRIPTION, endpoint_id, description)


DISABLE_BY_USER = """
UPDATE endpoints SET disabled_at = coalesce(disabled_at, now()), disabled_reason = coalesce(disabled_reason, 'user')
WHERE endpoint_id = $1 AND deleted_at IS NULL
"""
ENABLE = """
UPDATE endpoints SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL
WHERE endpoint_id = $1 AND deleted_at IS NULL
"""


async def set_disabled_by_user(
    conn: Connection, endpoint_id: EndpointId, *, disabled: bool
) -> None:
    """Disable or enable an endpoint. Deliveries to a disabled endpoint fail. Repeating is safe."""
    await conn.execute(DISABLE_BY_USER if disabled else ENABLE, endpoint_id)


DELETE_ENDPOINT = """
UPDATE endpoints AS e
SET deleted_at = now(), is_default = false
FROM (SELECT endpoint_id, is_default FROM endpoints WHERE endpoint_id = $1 FOR NO KEY UPDATE) AS before
WHERE e.endpoint_id = before.endpoint_id AND e.deleted_at IS NULL
RETURNING e.user_id, before.is_default, e.replaced
"""


async def delete_endpoint(conn: Connection, endpoint_id: EndpointId) -> bool:
    """Delete an endpoint and its secrets. False: it does not exist (repeating is safe).

    The endpoint that a listening one replaced as the default is the default again.
    """
    deleted = await conn.fetchrow(DELETE_ENDPOINT, endpoint_id)
    if deleted is None:
        return False
    await delete_secrets(conn, endpoint_id)
    if deleted["is_default"] and deleted["replaced"] is not None:
        await set_default(conn, deleted["user_id"], deleted["replaced"])
    return True
