"""The secrets that sign webhooks: a request's own, else the endpoint's, else the user's default.

After a secret is replaced, the previous one also signs until the overlap ends, so that receivers
can switch at any time in between. Replacing a secret again ends the older one at once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.domain.ids import EndpointId, EventId, ExecutionId, UserId
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import new_webhook_secret
from core.store.database import Connection
from core.store.secrets.secrets import (
    WEBHOOK_HEADERS,
    WEBHOOK_SECRET,
    StoredSecret,
    delete_secrets_of_kind,
    find_secret,
    insert_secret,
    lock_owner,
    replace_secret,
    seal_secret,
    secret_from_row,
)


def seal_request_secret(
    sealer: Sealer, secret: str, execution_id: ExecutionId, user_id: UserId
) -> StoredSecret:
    """Seal the signing secret that a request brings for its own execution."""
    return seal_secret(sealer, secret, kind=WEBHOOK_SECRET, owner_id=execution_id, user_id=user_id)


# The most specific owner signs. Account events have no execution.
GET_SIGNING_SECRETS = """
SELECT s.secret_id, s.kind, s.owner_id, s.user_id, s.key_id, s.sealed, s.valid_until
FROM webhooks AS w
JOIN LATERAL (
    SELECT owner_id FROM secrets
    WHERE kind = $2 AND valid_until IS NULL AND owner_id IN (w.execution_id, w.endpoint_id, w.user_id)
    ORDER BY array_position(ARRAY[w.execution_id, w.endpoint_id, w.user_id], owner_id) LIMIT 1
) AS signer ON true
JOIN secrets AS s ON s.owner_id = signer.owner_id AND s.kind = $2
WHERE w.event_id = $1 AND (s.valid_until IS NULL OR s.valid_until > now())
UNION ALL
SELECT s.secret_id, s.kind, s.owner_id, s.user_id, s.key_id, s.sealed, s.valid_until
FROM webhooks AS w JOIN secrets AS s ON s.owner_id = w.endpoint_id AND s.kind = $3
WHERE w.event_id = $1
ORDER BY valid_until NULLS FIRST
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecrets:
    """The secret that signs an event, and the previous one while both sign.

    headers: the endpoint's own headers as a JSON object; None: it has none.
    """

    current: StoredSecret
    previous: StoredSecret | None
    headers: StoredSecret | None = None


async def find_signing_secrets(conn: Connection, event_id: EventId) -> SigningSecrets | None:
    """Return the secrets that sign an event. None: no such event, or its user has no secret."""
    rows = await conn.fetch(GET_SIGNING_SECRETS, event_id, WEBHOOK_SECRET, WEBHOOK_HEADERS)
    stored = [secret_from_row(row) for row in rows]
    secrets = [secret for secret in stored if secret.kind == WEBHOOK_SECRET]
    headers = [secret for secret in stored if secret.kind == WEBHOOK_HEADERS]
    if not secrets:
        return None
    return SigningSecrets(
        current=secrets[0],
        previous=secrets[1] if len(secrets) > 1 else None,
        headers=headers[0] if headers else None,
    )


async def set_own_headers(
    conn: Connection,
    sealer: Sealer,
    endpoint_id: EndpointId,
    user_id: UserId,
    headers: Mapping[str, str],
) -> None:
    """Replace the headers that an endpoint's webhooks carry in addition; empty: none."""
    await lock_owner(conn, endpoint_id)
    await delete_secrets_of_kind(conn, endpoint_id, WEBHOOK_HEADERS)
    if headers:
        text = json.dumps(dict(headers))
        await insert_secret(
            conn,
            seal_secret(sealer, text, kind=WEBHOOK_HEADERS, owner_id=endpoint_id, user_id=user_id),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """A replaced secret.

    secret: in clear, to be shown once. previous_until: the previous secret also signs until then;
    None: it does not.
    """

    secret: str = field(repr=False)
    previous_until: datetime | None


async def rotate_default_secret(
    conn: Connection,
    sealer: Sealer,
    user_id: UserId,
    *,
    overlap: timedelta,
    secret: str | None = None,
) -> NewSecret:
    """Replace a user's default secret. Each call replaces it once more.

    secret: the new secret; None: generate one.
    """
    new = secret if secret is not None else new_webhook_secret()
    sealed = seal_secret(sealer, new, kind=WEBHOOK_SECRET, owner_id=user_id, user_id=user_id)
    return NewSecret(secret=new, previous_until=await replace_secret(conn, sealed, overlap=overlap))


GET_OWNER_OF_ENDPOINT = """
SELECT user_id FROM endpoints WHERE endpoint_id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE
"""


async def rotate_endpoint_secret(
    conn: Connection,
    sealer: Sealer,
    endpoint_id: EndpointId,
    *,
    overlap: timedelta,
    secret: str | None = None,
) -> NewSecret | None:
    """Replace an endpoint's secret. Its first own secret replaces the user's default there.

    secret: the new secret; None: generate one. Return None if the endpoint does not exist. Raises
    SealError if the default secret cannot be opened.
    """
    user_id: UserId | None = await conn.fetchval(GET_OWNER_OF_ENDPOINT, endpoint_id)
    if user_id is None:
        return None
    await lock_owner(conn, endpoint_id)
    if overlap and await find_secret(conn, endpoint_id, WEBHOOK_SECRET) is None:
        default = await find_secret(conn, user_id, WEBHOOK_SECRET)
        if default is not None:
            await set_first_secret(conn, sealer, endpoint_id, user_id, default.open(sealer))
    new = secret if secret is not None else new_webhook_secret()
    sealed = seal_secret(sealer, new, kind=WEBHOOK_SECRET, owner_id=endpoint_id, user_id=user_id)
    return NewSecret(secret=new, previous_until=await replace_secret(conn, sealed, overlap=overlap))


async def set_first_secret(
    conn: Connection, sealer: Sealer, endpoint_id: EndpointId, user_id: UserId, secret: str
) -> None:
    """Store the first own secret of an endpoint."""
    await insert_secret(
        conn,
        seal_secret(sealer, secret, kind=WEBHOOK_SECRET, owner_id=endpoint_id, user_id=user_id),
    )
