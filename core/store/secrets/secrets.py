"""Secrets at rest: one table for webhook secrets and headers, and users' provider keys.

A secret belongs to an owner: a user (its default signing secret), an endpoint, an execution or a
provider key. Its context is its row (id, kind, owner, user), so a value that is copied into another
row cannot be opened there.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from core.domain.ids import UserId, new_secret_id
from core.platform.crypto.sealing import Sealed, Sealer
from core.store.database import Connection

WEBHOOK_SECRET: Final = "webhook_secret"  # noqa: S105 - a kind, not a secret

WEBHOOK_HEADERS: Final = "webhook_headers"


def provider_key_kind(provider: str) -> str:
    """Return the kind of a user's key for a provider. A key cannot be opened for another one."""
    return f"provider_key/{provider}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """A row of the table. valid_until: set once a webhook secret is replaced."""

    secret_id: str
    kind: str
    owner_id: str
    user_id: UserId
    sealed: Sealed = field(repr=False)
    valid_until: datetime | None = None

    @property
    def context(self) -> str:
        """The context that the value is sealed for."""
        return _context(self.secret_id, self.kind, self.owner_id, self.user_id)

    def open(self, sealer: Sealer) -> str:
        """Decrypt the secret. Raises SealError."""
        return sealer.open(self.sealed, context=self.context).decode()


def _context(secret_id: str, kind: str, owner_id: str, user_id: UserId) -> str:
    return f"secrets/{secret_id}/{kind}/{owner_id}/{user_id}"


def seal_secret(
    sealer: Sealer, plaintext: str, *, kind: str, owner_id: str, user_id: UserId
) -> StoredSecret:
    """Seal a secret for a new row."""
    secret_id = new_secret_id()
    context = _context(secret_id, kind, owner_id, user_id)
    return StoredSecret(
        secret_id=secret_id,
        kind=kind,
        owner_id=owner_id,
        user_id=user_id,
        sealed=sealer.seal(plaintext, context=context),
    )


def secret_from_row(row: asyncpg.Record) -> StoredSecret:
    """Read a row that has all columns of the table."""
    return StoredSecret(
        secret_id=row["secret_id"],
        kind=row["kind"],
        owner_id=row["owner_id"],
        user_id=UserId(row["user_id"]),
        sealed=Sealed(key_id=row["key_id"], data=row["sealed"]),
        valid_until=row["valid_until"],
    )


INSERT_CURRENT = """
INSERT INTO secrets (secret_id, kind, owner_id, user_id, key_id, sealed)
VALUES ($1, $2, $3, $4, $5, $6)
"""


async def insert_secret(conn: Connection, new: StoredSecret) -> None:
    """Store the first secret of an owner."""
    await conn.execute(
        INSERT_CURRENT,
        new.secret_id,
        new.kind,
        new.owner_id,
        new.user_id,
        new.sealed.key_id,
        new.sealed.data,
    )


FIND_CURRENT = """
SELECT secret_id, kind, owner_id, user_id, key_id, sealed, valid_until FROM secrets
WHERE owner_id = $1 AND kind = $2 AND valid_until IS NULL
"""


async def find_secret(conn: Connection, owner_id: str, kind: str) -> StoredSecret | None:
    """Return the current secret of an owner."""
    row = await conn.fetchrow(FIND_CURRENT, owner_id, kind)
    return secret_from_row(row) if row is not None else None


# Two replacements for the same owner run one after the other.
LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended('secrets/' || $1::text, 0))"
DELETE_PREVIOUS = """
DELETE FROM secrets WHERE owner_id = $1 AND kind = $2 AND (valid_until IS NOT NULL OR $3 <= interval '0')
"""
RETIRE_CURRENT = """
UPDATE secrets SET valid_until = now() + $3 WHERE owner_id = $1 AND kind = $2 AND valid_until IS NULL
RETURNING valid_until
"""


async def lock_owner(conn: Connection, owner_id: str) -> None:
    """Wait for other replacements of this owner's secrets; the lock lasts until COMMIT."""
    await conn.execute(LOCK_OWNER, owner_id)


async def replace_secret(
    conn: Connection, new: StoredSecret, *, overlap: timedelta
) -> datetime | None:
    """Make a secret the current one of its owner.

    The secret before it stays valid for the overlap, and an older one is deleted. Return until when
    the previous secret is valid; None without a previous secret or an overlap.
    """
    await lock_owner(conn, new.owner_id)
    await conn.execute(DELETE_PREVIOUS, new.owner_id, new.kind, overlap)
    until: datetime | None = await conn.fetchval(RETIRE_CURRENT, new.owner_id, new.kind, overlap)
    await insert_secret(conn, new)
    return until


DELETE_SECRETS = "DELETE FROM secrets WHERE owner_id = $1"


async def delete_secrets(conn: Connection, owner_id: str) -> None:
    """Delete every secret of an owner. Repeating is safe."""
    await conn.execute(DELETE_SECRETS, owner_id)


DELETE_KIND = "DELETE FROM secrets WHERE owner_id = $1 AND kind = $2"


async def delete_secrets_of_kind(conn: Connection, owner_id: str, kind: str) -> None:
    """Delete every secret of one kind of an owner. Repeating is safe."""
    await conn.execute(DELETE_KIND, owner_id, kind)
