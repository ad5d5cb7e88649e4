"""Users' own provider keys: one current key per user and provider, and older keys while in use.

A job is polled, cancelled and billed with the key that bought it. A replaced or deleted key is kept
until no job needs it; then its secret is erased and its row stays.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg

from core.domain.ids import ProviderKeyId, UserId, new_provider_key_id
from core.platform.crypto.sealing import Sealer
from core.store.database import Connection
from core.store.secrets.secrets import find_secret, insert_secret, provider_key_kind, seal_secret

HINT_CHARS = 4


class KeyErasedError(Exception):
    """The key was replaced or deleted, and then erased because no open job needed it."""

    def __init__(self, provider_key_id: ProviderKeyId) -> None:
        super().__init__(f"the provider key {provider_key_id} is erased")
        self.provider_key_id = provider_key_id


class KeyTest(StrEnum):
    """The result of a key test. UNREACHABLE: the provider gave no usable response."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKey:
    """A key without its secret.

    hint: the last characters of the secret. version: 1, 2, … per user and provider. open_jobs: the
    number of jobs that are still polled, cancelled or billed with it.
    """

    provider_key_id: ProviderKeyId
    provider: str
    version: int
    hint: str
    created_at: datetime
    tested_at: datetime | None
    test_outcome: KeyTest | None
    replaced_at: datetime | None
    deleted_at: datetime | None
    open_jobs: int

    @property
    def is_current(self) -> bool:
        """Return whether new jobs are bought with this key."""
        return self.replaced_at is None and self.deleted_at is None


# Serializes changes of the keys of one user at one provider.
LOCK_KEYS = "SELECT pg_advisory_xact_lock(hashtextextended('provider-keys/' || $1::text || '/' || $2::text, 0))"
NEXT_VERSION = (
    "SELECT coalesce(max(version), 0) + 1 FROM provider_keys WHERE user_id = $1 AND provider = $2"
)
REPLACE_CURRENT = """
UPDATE provider_keys SET replaced_at = now()
WHERE user_id = $1 AND provider = $2 AND replaced_at IS NULL AND deleted_at IS NULL
"""
INSERT_KEY = """
INSERT INTO provider_keys (provider_key_id, user_id, provider, version, hint) VALUES ($1, $2, $3, $4, $5)
"""


async def put_key(
    conn: Connection, sealer: Sealer, user_id: UserId, provider: str, key: str
) -> ProviderKey:
    """Store a key with which this user's jobs at this provider are bought from now on.

    Each call creates a new version.
    """
    await conn.execute(LOCK_KEYS, user_id, provider)
    version: int = await conn.fetchval(NEXT_VERSION, user_id, provider)
    await conn.execute(REPLACE_CURRENT, user_id, provider)
    provider_key_id = new_provider_key_id()
    await conn.execute(INSERT_KEY, provider_key_id, user_id, provider, version, key[-HINT_CHARS:])
    kind = provider_key_kind(provider)
    await insert_secret(
        conn, seal_secret(sealer, key, kind=kind, owner_id=provider_key_id, user_id=user_id)
    )
    return next(
        key for key in await list_keys(conn, user_id) if key.provider_key_id == provider_key_id
    )


LIST_KEYS = """
SELECT k.provider_key_id, k.provider, k.version, k.hint, k.created_at, k.tested_at, k.test_outcome, k.replaced_at,
       k.deleted_at,
       (SELECT count(*) FROM jobs AS j LEFT JOIN charges AS c ON c.job_id = j.job_id
        WHERE j.provider_key_id = k.provider_key_id
          AND (j.state IN ('waiting', 'submitting', 'unknown', 'submitted') OR c.state = 'held')) AS open_jobs
FROM provider_keys AS k
WHERE k.user_id = $1 AND k.erased_at IS NULL
ORDER BY k.provider, k.version DESC
"""


async def list_keys(conn: Connection, user_id: UserId) -> list[ProviderKey]:
    """List the current keys and older keys that are in use, by provider, the newest first."""
    return [_provider_key(row) for row in await conn.fetch(LIST_KEYS, user_id)]


def _provider_key(row: asyncpg.Record) -> ProviderKey:
    plain: dict[str, Any] = dict(row)
    outcome = plain.pop("test_outcome")
    return ProviderKey(test_outcome=None if outcome is None else KeyTest(outcome), **plain)


MARK_TESTED = (
    "UPDATE provider_keys SET tested_at = now(), test_outcome = $2 WHERE provider_key_id = $1"
)


async def mark_tested(conn: Connection, provider_key_id: ProviderKeyId, outcome: KeyTest) -> None:
    """Store the result of a test of the key with the current time."""
    await conn.execute(MARK_TESTED, provider_key_id, outcome.value)


DELETE_CURRENT = """
UPDATE provider_keys SET deleted_at = now()
WHERE user_id = $1 AND provider = $2 AND replaced_at IS NULL AND deleted_at IS NULL
RETURNING provider_key_id
"""


async def delete_key(conn: Connection, user_id: UserId, provider: str) -> ProviderKeyId | None:
    """Delete the user's current key: no new job is bought with it.

    Its secret is erased when no job needs it (`erase_unused`). Return None if the user has no
    current key.
    """
    await conn.execute(LOCK_KEYS, user_id, provider)
    return await conn.fetchval(DELETE_CURRENT, user_id, provider)


# The share lock lasts until COMMIT: a key is not replaced, deleted or erased while a purchase with
# it is being committed. A statement that waited for a replacement sees the old row, which it then
# cannot lock, and not the new one.
LOCK_CURRENT = """
WITH locked AS (
    SELECT provider_key_id FROM provider_keys
    WHERE user_id = $1 AND provider = $2 AND replaced_at IS NULL AND deleted_at IS NULL
    FOR SHARE
)
SELECT (SELECT provider_key_id FROM locked) AS key_id, EXISTS (
    SELECT FROM provider_keys
    WHERE user_id = $1 AND provider = $2 AND replaced_at IS NULL AND deleted_at IS NULL
) AS was_seen
"""


async def current_key(conn: Connection, user_id: UserId, provider: str) -> ProviderKeyId | None:
    """Return the user's current key, locked against changes until COMMIT.

    Return None if the user has no key, in which case the service's key is used.
    """
    while True:
        (row,) = await conn.fetch(LOCK_CURRENT, user_id, provider)
        if row["key_id"] is not None or not row["was_seen"]:
            return row["key_id"]


LIST_CURRENT = """
SELECT provider, provider_key_id FROM provider_keys
WHERE user_id = $1 AND replaced_at IS NULL AND deleted_at IS NULL
"""


async def list_current(conn: Connection, user_id: UserId) -> dict[str, ProviderKeyId]:
    """Return the user's current keys by provider, without a lock: they may change at any time."""
    return {
        row["provider"]: row["provider_key_id"] for row in await conn.fetch(LIST_CURRENT, user_id)
    }


GET_PROVIDER = "SELECT provider FROM provider_keys WHERE provider_key_id = $1"


async def open_key(conn: Connection, sealer: Sealer, provider_key_id: ProviderKeyId) -> str:
    """Return a key in clear, for its provider's adapter only.

    Raises KeyErasedError; LookupError if the key does not exist or belongs to another user;
    SealError.
    """
    provider: str | None = await conn.fetchval(GET_PROVIDER, provider_key_id)
    if provider is None:
        raise LookupError(f"no provider key {provider_key_id}")
    secret = await find_secret(conn, provider_key_id, provider_key_kind(provider))
    if secret is None:
        raise KeyErasedError(provider_key_id)
    return secret.open(sealer)


# A key is retired only after purchases in progress have committed (LOCK_CURRENT), so a transaction
# that sees a retired key sees its jobs.
ERASE_UNUSED = """
WITH erased AS (
UPDATE provider_keys AS k SET erased_at = now()
WHERE k.erased_at IS NULL AND (k.replaced_at IS NOT NULL OR k.deleted_at IS NOT NULL)
  AND NOT EXISTS (
      SELECT FROM jobs AS j LEFT JOIN charges AS c ON c.job_id = j.job_id
      WHERE j.provider_key_id = k.provider_key_id
        AND (j.state IN ('waiting', 'submitting', 'unknown', 'submitted') OR c.state = 'held')
  )
  AND NOT EXISTS (  -- the output may have to be requested from the provider again
      SELECT FROM jobs AS j JOIN executions AS e ON e.execution_id = j.execution_id
      WHERE j.provider_key_id = k.provider_key_id AND j.state = 'completed' AND NOT j.orphan
        AND e.status IN ('queued', 'running') AND NOT EXISTS (SELECT FROM assets AS a WHERE a.job_id = j.job_id)
  )
  AND NOT EXISTS (
      SELECT FROM sends AS s JOIN jobs AS j ON j.job_id = s.job_id LEFT JOIN charges AS c ON c.job_id = j.job_id
      WHERE s.provider_key_id = k.provider_key_id
        AND (j.state IN ('waiting', 'submitting', 'unknown', 'submitted') OR c.state = 'held')
  )
RETURNING k.provider_key_id
), deleted AS (
    DELETE FROM secrets USING erased WHERE owner_id = provider_key_id
)
SELECT provider_key_id FROM erased
"""


async def erase_unused(conn: Connection) -> list[ProviderKeyId]:
    """Erase replaced and deleted keys that are no longer needed; return them.

    A key is needed by open jobs, by open bills (also of orphans), and by outputs that an open
    execution has not stored yet. Repeating is safe. As system, it covers all users; as a user, the
    user's own keys.
    """
    return [ProviderKeyId(row["provider_key_id"]) for row in await conn.fetch(ERASE_UNUSED)]
