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
    """The key was replaced or deleted, and is gone: nothing that was known to need it was open."""

    def __init__(self, provider_key_id: ProviderKeyId) -> None:
        super().__init__(f"the provider key {provider_key_id} is erased")
        self.provider_key_id = provider_key_id


class KeyTest(StrEnum):
    """What the provider said of a key. UNREACHABLE: nothing that could be understood."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderKey:
    """A key without its text. hint: its last characters. version: 1, 2, … of its user at this
    provider.

    open_jobs: what is still polled, cancelled or billed with it.
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
        return self.replaced_at is None and self.deleted_at is None


# Whoever puts or deletes a key of a user at a provider does so one after the other.
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
    """From now on, what this user buys at this provider is bought with this key. Each call is a new
    version.
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
    """The current ones, and those before them that are still in use: by provider, the
    newest first.
    """
    return [_provider_key(row) for row in await conn.fetch(LIST_KEYS, user_id)]


def _provider_key(row: asyncpg.Record) -> ProviderKey:
    plain: dict[str, Any] = dict(row)
    outcome = plain.pop("test_outcome")
    return ProviderKey(test_outcome=None if outcome is None else KeyTest(outcome), **plain)


MARK_TESTED = (
    "UPDATE provider_keys SET tested_at = now(), test_outcome = $2 WHERE provider_key_id = $1"
)


async def mark_tested(conn: Connection, provider_key_id: ProviderKeyId, outcome: KeyTest) -> None:
    """What its provider said of it, just now."""
    await conn.execute(MARK_TESTED, provider_key_id, outcome.value)


DELETE_CURRENT = """
UPDATE provider_keys SET deleted_at = now()
WHERE user_id = $1 AND provider = $2 AND replaced_at IS NULL AND deleted_at IS NULL
RETURNING provider_key_id
"""


async def delete_key(conn: Connection, user_id: UserId, provider: str) -> ProviderKeyId | None:
    """From now on nothing more is bought with the user's current key. Erased when it is no longer
    needed, see `erase_unused`. None: there was none.
    """
    await conn.execute(LOCK_KEYS, user_id, provider)
    return await conn.fetchval(DELETE_CURRENT, user_id, provider)


# The share lock lasts until COMMIT: a key is not replaced, deleted or erased while something is
# about to be bought with it. Whoever waited here for a replacement does not see the new row in this
# statement.
LOCK_CURRENT = """
SELECT provider_key_id FROM provider_keys
WHERE user_id = $1 AND provider = $2 AND replaced_at IS NULL AND deleted_at IS NULL
FOR SHARE
"""
HAS_CURRENT = """
SELECT EXISTS (
    SELECT FROM provider_keys
    WHERE user_id = $1 AND provider = $2 AND replaced_at IS NULL AND deleted_at IS NULL
)
"""


async def current_key(conn: Connection, user_id: UserId, provider: str) -> ProviderKeyId | None:
    """The key to buy with now, kept as it is until COMMIT; None: the user has none, the service's
    own is used.
    """
    while True:
        found: ProviderKeyId | None = await conn.fetchval(LOCK_CURRENT, user_id, provider)
        if found is not None or not await conn.fetchval(HAS_CURRENT, user_id, provider):
            return found


LIST_CURRENT = """
SELECT provider, provider_key_id FROM provider_keys
WHERE user_id = $1 AND replaced_at IS NULL AND deleted_at IS NULL
"""


async def list_current(conn: Connection, user_id: UserId) -> dict[str, ProviderKeyId]:
    """The user's own keys by provider, as they are now and may not be when something is bought."""
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


# A key is retired only after what was about to be bought with it has committed (LOCK_CURRENT):
# whoever sees it retired sees those jobs.
ERASE_UNUSED = """
WITH erased AS (
UPDATE provider_keys AS k SET erased_at = now()
WHERE k.erased_at IS NULL AND (k.replaced_at IS NOT NULL OR k.deleted_at IS NOT NULL)
  AND NOT EXISTS (
      SELECT FROM jobs AS j LEFT JOIN charges AS c ON c.job_id = j.job_id
      WHERE j.provider_key_id = k.provider_key_id
        AND (j.state IN ('waiting', 'submitting', 'unknown', 'submitted') OR c.state = 'held')
  )
  AND NOT EXISTS (  -- its file may have to be asked for again
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
    """Erase the keys that were replaced or deleted and that nothing needs: no open job, no open
    bill, an orphan's neither, no file that an open execution has yet to store. Repeating is
    safe.

    As system: of all users; as a user: its own.
    """
    return [ProviderKeyId(row["provider_key_id"]) for row in await conn.fetch(ERASE_UNUSED)]
