"""The secrets that sign webhooks: an endpoint's own, or its user's default; and the change from one
to the next.

While one replaces another both sign, so that a receiver may change over when it likes. Only the
last two are known: a change within a change ends the first.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from core.domain.ids import EndpointId, UserId
from core.platform.crypto.sealing import SecretBox
from core.store.accounts.users import new_webhook_secret, webhook_secret_context
from core.store.database import Connection


def endpoint_secret_context(endpoint_id: EndpointId) -> str:
    """Where an endpoint's own secret may be opened, the one before it, too."""
    return f"endpoints/{endpoint_id}/webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """secret: in clear, to be shown once. previous_until: until then the one before signs, too;
    None: it does not.
    """

    secret: str = field(repr=False)
    previous_until: datetime | None


REPLACE_DEFAULT = """
UPDATE users
SET webhook_secret_sealed = $2,
    previous_webhook_secret_sealed = CASE WHEN $3::interval > interval '0' THEN webhook_secret_sealed END,
    previous_webhook_secret_until = CASE WHEN $3::interval > interval '0' THEN now() + $3::interval END
WHERE user_id = $1
RETURNING previous_webhook_secret_until
"""


async def rotate_default_secret(
    conn: Connection,
    box: SecretBox,
    user_id: UserId,
    *,
    overlap: timedelta,
    secret: str | None = None,
) -> NewSecret:
    """A user's next default secret. secret: the one to use; None: a new one is made. Each call is
    one more change.
    """
    new = secret if secret is not None else new_webhook_secret()
    sealed = box.seal(new, context=webhook_secret_context(user_id))
    return NewSecret(
        secret=new, previous_until=await conn.fetchval(REPLACE_DEFAULT, user_id, sealed, overlap)
    )


LOCK_SECRETS = """
SELECT e.user_id, e.secret_sealed, u.webhook_secret_sealed
FROM endpoints AS e JOIN users AS u ON u.user_id = e.user_id
WHERE e.endpoint_id = $1 AND e.deleted_at IS NULL
FOR NO KEY UPDATE OF e
"""
REPLACE_OWN = """
UPDATE endpoints
SET secret_sealed = $2,
    previous_secret_sealed = CASE WHEN $4::interval > interval '0' THEN $3::bytea END,
    previous_secret_until = CASE WHEN $4::interval > interval '0' THEN now() + $4::interval END
WHERE endpoint_id = $1
RETURNING previous_secret_until
"""


async def rotate_endpoint_secret(
    conn: Connection,
    box: SecretBox,
    endpoint_id: EndpointId,
    *,
    overlap: timedelta,
    secret: str | None = None,
) -> NewSecret | None:
    """The next secret of an endpoint; its first own one replaces the user's default there. None: no
    such endpoint.

    secret: the one to use; None: a new one is made. Raises SealError: the one before cannot be
    opened.
    """
    row = await conn.fetchrow(LOCK_SECRETS, endpoint_id)
    if row is None:
        return None
    context = endpoint_secret_context(endpoint_id)
    previous: bytes | None = row["secret_sealed"]
    if previous is None and overlap:
        default = box.open(
            row["webhook_secret_sealed"], context=webhook_secret_context(row["user_id"])
        )
        previous = box.seal(default, context=context)
    new = secret if secret is not None else new_webhook_secret()
    sealed = box.seal(new, context=context)
    return NewSecret(
        secret=new,
        previous_until=await conn.fetchval(REPLACE_OWN, endpoint_id, sealed, previous, overlap),
    )


SEAL_FIRST = "UPDATE endpoints SET secret_sealed = $2 WHERE endpoint_id = $1"


async def set_first_secret(
    conn: Connection, box: SecretBox, endpoint_id: EndpointId, secret: str
) -> None:
    """Of an endpoint that was made in this transaction: nothing was signed before."""
    await conn.execute(
        SEAL_FIRST, endpoint_id, box.seal(secret, context=endpoint_secret_context(endpoint_id))
    )
