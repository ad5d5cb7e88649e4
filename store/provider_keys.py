"""Users' own keys at the providers, in rows: sealed, one current one of a user at a provider, older ones while in use.

What is bought with a key is looked up, ended and billed with the same one, so a key that was replaced or deleted is
kept until nothing needs it any more; then its text is erased. The row stays.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from contracts.ids import ProviderKeyId, UserId
from runtime.encryption import SecretBox
from store.database import Connection

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
    """A key without its text. hint: its last characters. version: 1, 2, … of its user at this provider.

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


def provider_key_context(user_id: UserId, provider: str, provider_key_id: ProviderKeyId, version: int) -> str:
    """Where a key may be opened: in its own row, and in no other."""
    return f"provider-keys/{user_id}/{provider}/{provider_key_id}/{version}"


# The share lock lasts until COMMIT: a key is not replaced, deleted or erased while something is about to be bought with
# it. Whoever waited here for a replacement does not see the new row in this statement.
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
    """The key to buy with now, kept as it is until COMMIT; None: the user has none, the service's own is used."""
    while True:
        found: ProviderKeyId | None = await conn.fetchval(LOCK_CURRENT, user_id, provider)
        if found is not None or not await conn.fetchval(HAS_CURRENT, user_id, provider):
            return found


GET_SEALED = "SELECT user_id, provider, version, key_sealed FROM provider_keys WHERE provider_key_id = $1"


async def open_key(conn: Connection, box: SecretBox, provider_key_id: ProviderKeyId) -> str:
    """A key in clear: to be handed to its provider's adapter, and nowhere else.

    Raises KeyErasedError; LookupError: there is no such key, or it is another user's; SealError.
    """
    row = await conn.fetchrow(GET_SEALED, provider_key_id)
    if row is None:
        raise LookupError(f"no provider key {provider_key_id}")
    if row["key_sealed"] is None:
        raise KeyErasedError(provider_key_id)
    context = provider_key_context(row["user_id"], row["provider"], provider_key_id, row["version"])
    return box.open(row["key_sealed"], context=context).decode()


# A key is retired only after what was about to be bought with it has committed (LOCK_CURRENT): whoever sees it retired
# sees those jobs.
ERASE_UNUSED = """
UPDATE provider_keys AS k SET key_sealed = NULL, erased_at = now()
WHERE k.erased_at IS NULL AND (k.replaced_at IS NOT NULL OR k.deleted_at IS NOT NULL)
  AND NOT EXISTS (
      SELECT FROM jobs AS j LEFT JOIN charges AS c ON c.job_id = j.job_id
      WHERE (j.provider_key_id = k.provider_key_id
             OR j.job_id IN (SELECT s.job_id FROM sends AS s WHERE s.provider_key_id = k.provider_key_id))
        AND (j.state IN ('waiting', 'submitting', 'unknown', 'submitted') OR c.state = 'held')
  )
RETURNING k.provider_key_id
"""


async def erase_unused(conn: Connection) -> list[ProviderKeyId]:
    """Erase the keys that were replaced or deleted and that nothing needs: no open job, no open bill, an orphan's
    neither. As system: of all users; as a user: its own. Repeating is safe.
    """
    return [ProviderKeyId(row["provider_key_id"]) for row in await conn.fetch(ERASE_UNUSED)]
