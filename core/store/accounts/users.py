"""Users and their API keys."""

import base64
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from asyncpg import Record

from core.domain.ids import KeyId, UserId, new_key_id, new_user_id
from core.domain.money import NanoUsd
from core.domain.scopes import ALL_SCOPES, Scope
from core.platform.crypto.sealing import Sealer
from core.store.accounts.api_key_format import ApiKey, new_api_key
from core.store.database import Connection
from core.store.money.budget_alerts import note_thresholds
from core.store.money.key_spending import NO_LIMIT, SpendLimit
from core.store.secrets.secrets import WEBHOOK_SECRET, insert_secret, seal_secret

KEYS_SHOWN = 200
WEBHOOK_SECRET_BYTES = 32  # Standard Webhooks asks for 24 to 64
WEBHOOK_SECRET_PREFIX = "whsec_"  # noqa: S105 - how such a secret begins, not one


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits:
    """The limits of a user per calendar month (UTC); None: no limit.

    open_executions, running_executions: concurrency limits; media_seconds: processor time of media
    steps in a month; None: the defaults from the settings.
    """

    monthly_videos: int | None
    monthly_nano_usd: NanoUsd | None
    open_executions: int | None = None
    running_executions: int | None = None
    media_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """A new user. webhook_secret: in clear, to be shown once."""

    user_id: UserId
    webhook_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user. webhook_url: of the default endpoint."""

    user_id: UserId
    name: str
    limits: UserLimits
    webhook_url: str | None = field(repr=False)
    created_at: datetime
    disabled_at: datetime | None


def new_webhook_secret() -> str:
    """Make a signing secret in the form of Standard Webhooks."""
    return (
        WEBHOOK_SECRET_PREFIX + base64.b64encode(secrets.token_bytes(WEBHOOK_SECRET_BYTES)).decode()
    )


INSERT_USER = """
INSERT INTO users
    (user_id, name, monthly_videos_limit, monthly_nano_usd_limit, open_limit, running_limit, media_seconds_limit)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


async def insert_user(conn: Connection, sealer: Sealer, name: str, limits: UserLimits) -> NewUser:
    """Create a user with a default webhook secret."""
    user_id = new_user_id()
    secret = new_webhook_secret()
    await conn.execute(INSERT_USER, user_id, name, *_in_columns(limits))
    await insert_secret(
        conn, seal_secret(sealer, secret, kind=WEBHOOK_SECRET, owner_id=user_id, user_id=user_id)
    )
    return NewUser(user_id=user_id, webhook_secret=secret)


LIST_USERS = """
SELECT u.user_id, u.name, u.monthly_videos_limit, u.monthly_nano_usd_limit, u.open_limit, u.running_limit,
       u.media_seconds_limit, u.created_at, u.disabled_at, d.url AS webhook_url
FROM users AS u LEFT JOIN endpoints AS d ON d.user_id = u.user_id AND d.is_default
ORDER BY u.user_id
"""


async def list_users(conn: Connection) -> list[User]:
    return [
        User(
            user_id=UserId(row["user_id"]),
            name=row["name"],
            limits=_limits(row),
            webhook_url=row["webhook_url"],
            created_at=row["created_at"],
            disabled_at=row["disabled_at"],
        )
        for row in await conn.fetch(LIST_USERS)
    ]


GET_LIMITS = """
SELECT monthly_videos_limit, monthly_nano_usd_limit, open_limit, running_limit, media_seconds_limit
FROM users WHERE user_id = $1
FOR NO KEY UPDATE
"""
UPDATE_LIMITS = """
UPDATE users SET monthly_videos_limit = $2, monthly_nano_usd_limit = $3, open_limit = $4, running_limit = $5,
                 media_seconds_limit = $6
WHERE user_id = $1
"""


def _limits(row: Record) -> UserLimits:
    return UserLimits(
        monthly_videos=row["monthly_videos_limit"],
        monthly_nano_usd=row["monthly_nano_usd_limit"],
        open_executions=row["open_limit"],
        running_executions=row["running_limit"],
        media_seconds=row["media_seconds_limit"],
    )


def _in_columns(limits: UserLimits) -> tuple[int | None, ...]:
    return (
        limits.monthly_videos,
        limits.monthly_nano_usd,
        limits.open_executions,
        limits.running_executions,
        limits.media_seconds,
    )


async def lock_limits(conn: Connection, user_id: UserId) -> UserLimits:
    """Return a user's limits and lock the row until COMMIT. Raises LookupError."""
    row = await conn.fetchrow(GET_LIMITS, user_id)
    if row is None:
        raise LookupError(f"no user {user_id}")
    return _limits(row)


async def set_limits(conn: Connection, user_id: UserId, limits: UserLimits) -> None:
    """Set a user's limits from the next hold on.

    Money already held or spent stays, also above a lower limit. Locks the user's budget: call it
    last before COMMIT.
    """
    await conn.execute(UPDATE_LIMITS, user_id, *_in_columns(limits))
    await note_thresholds(conn, user_id)


SET_DISABLED = """
UPDATE users SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, now()) END WHERE user_id = $1
RETURNING user_id
"""


async def set_disabled(conn: Connection, user_id: UserId, *, disabled: bool) -> bool:
    """Disable or enable a user. A disabled user's keys are refused; running executions continue.

    False: no such user. Repeating is safe.
    """
    return await conn.fetchval(SET_DISABLED, user_id, disabled) is not None


# A key inherits the rate limits that an operator has set for the key that creates it.
INSERT_KEY = """
INSERT INTO api_keys
    (key_id, user_id, name, prefix, secret_sha256, scopes, expires_at, made_by, rate_writes, rate_reads,
     daily_nano_usd_limit, monthly_nano_usd_limit)
SELECT $1, u.user_id, $3, $4, $5, $6, now() + make_interval(days => $7), $8, maker.rate_writes, maker.rate_reads,
       $9, $10
FROM users AS u LEFT JOIN api_keys AS maker ON maker.key_id = $8 AND maker.user_id = u.user_id
WHERE u.user_id = $2
RETURNING created_at, expires_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    key_id: KeyId
    key: ApiKey
    created_at: datetime
    expires_at: datetime | None


async def insert_api_key(
    conn: Connection,
    user_id: UserId,
    name: str,
    *,
    scopes: Collection[Scope] = ALL_SCOPES,
    expires_days: int | None = None,
    made_by: str | None = None,
    spend_limit: SpendLimit = NO_LIMIT,
) -> NewKey:
    """Create a key. Its text is in the result and nowhere else. Raises LookupError: no such user.

    made_by: the id of the key, or the subject of the token, that creates it; None: an operator.
    spend_limit: only without the scope `admin`.
    """
    key, key_id = new_api_key(), new_key_id()
    columns = (
        key_id,
        user_id,
        name,
        key.prefix,
        key.secret_sha256,
        sorted(scopes),
        expires_days,
        made_by,
        spend_limit.daily_nano_usd,
        spend_limit.monthly_nano_usd,
    )
    row = await conn.fetchrow(INSERT_KEY, *columns)
    if row is None:
        raise LookupError(f"no user {user_id}")
    return NewKey(
        key_id=key_id, key=key, created_at=row["created_at"], expires_at=row["expires_at"]
    )


LOCK_KEYS = "SELECT pg_advisory_xact_lock(hashtextextended('api_keys/' || $1, 0))"
COUNT_USABLE_KEYS = """
SELECT count(*) FROM api_keys
WHERE user_id = $1 AND NOT is_session AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


async def count_usable_keys(conn: Connection, user_id: UserId) -> int:
    """Count a user's usable keys, without sessions.

    Concurrent counts of the same user wait until COMMIT.
    """
    await conn.execute(LOCK_KEYS, user_id)
    return await conn.fetchval(COUNT_USABLE_KEYS, user_id)


# Concurrent requests with one key do not wait for this row: a locked row is skipped.
TOUCH_KEY = """
UPDATE api_keys SET last_used_at = now()
WHERE key_id = (
    SELECT key_id FROM api_keys
    WHERE key_id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
    FOR UPDATE SKIP LOCKED
)
"""


async def mark_key_used(conn: Connection, key_id: KeyId) -> None:
    """Update last_used_at, at most once a minute."""
    await conn.execute(TOUCH_KEY, key_id)


LIST_KEYS = """
SELECT key_id, name, prefix, scopes, rate_writes, rate_reads, made_by, created_at, expires_at, revoked_at, last_used_at
FROM api_keys WHERE user_id = $1 AND key_id = coalesce($3, key_id) AND (NOT is_session OR key_id = $3)
ORDER BY revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) DESC, key_id DESC LIMIT $2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A key without its secret.

    rate_writes, rate_reads: its own limits; None: the settings'; 0: no limit.
    made_by: the id of the key, or the subject of the token, that created it; None: an operator.
    """

    key_id: KeyId
    name: str
    prefix: str
    scopes: list[Scope]
    rate_writes: int | None
    rate_reads: int | None
    made_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


async def list_api_keys(conn: Connection, user_id: UserId) -> list[KeyEntry]:
    """List a user's keys, without sessions, at most KEYS_SHOWN: usable ones first, newest first."""
    rows = await conn.fetch(LIST_KEYS, user_id, KEYS_SHOWN, None)
    return [KeyEntry(**dict(row)) for row in rows]


async def find_api_key(conn: Connection, user_id: UserId, key_id: KeyId) -> KeyEntry | None:
    """Return a key of a user; None: the user has no such key."""
    row = await conn.fetchrow(LIST_KEYS, user_id, 1, key_id)
    return KeyEntry(**dict(row)) if row is not None else None


REVOKE_KEY = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE key_id = $1 AND user_id = coalesce($2, user_id)
RETURNING revoked_at
"""


async def revoke_api_key(
    conn: Connection, key_id: KeyId, *, user_id: UserId | None = None
) -> datetime | None:
    """Revoke a key and return the time of its first revocation. Repeating is safe.

    None: no such key, or it belongs to another user.
    """
    return await conn.fetchval(REVOKE_KEY, key_id, user_id)
