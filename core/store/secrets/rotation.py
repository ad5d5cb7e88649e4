"""Rotation of encryption keys: count the secrets under each key, and re-encrypt with the newest.

A row's key id shows whether it is done, so a rotation can be stopped anywhere and repeated. Each
batch is one short transaction. Rows that other transactions have locked are skipped and visited by
a later pass. Run as system.
"""

import asyncio
from dataclasses import dataclass, field

import asyncpg

from core.platform.crypto.sealing import Sealed, Sealer, SealError
from core.platform.observability.logging import get_logger
from core.store.database import Database
from core.store.secrets.secrets import StoredSecret, secret_from_row

log = get_logger(__name__)

BATCH = 200
"""Rows that are locked together, for some milliseconds."""
COUNT_TIMEOUT_SECONDS = 600.0
EXAMPLES = 20
PASS_INTERVAL_SECONDS = 0.5
MAX_IDLE_PASSES = 60
"""Give up after this many consecutive passes that found only locked rows."""

COUNT_BY_KEY = """
SELECT kind, key_id, count(*) AS number FROM secrets GROUP BY kind, key_id ORDER BY kind, key_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretCount:
    """The number of secrets of a kind under one encryption key."""

    kind: str
    key_id: str
    number: int


async def count_secrets(database: Database) -> list[SecretCount]:
    """Count the secrets by kind and key, in one snapshot."""
    async with database.reading_all() as conn:
        rows = await conn.fetch(COUNT_BY_KEY, timeout=COUNT_TIMEOUT_SECONDS)
    return [SecretCount(**dict(row)) for row in rows]


LOCK_BATCH = """
SELECT secret_id, kind, owner_id, user_id, key_id, sealed, valid_until FROM secrets
WHERE key_id <> $1 AND secret_id > $2
ORDER BY secret_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
UPDATE_BATCH = """
UPDATE secrets AS s SET key_id = $1, sealed = n.sealed
FROM unnest($2::text[], $3::bytea[]) AS n (secret_id, sealed)
WHERE s.secret_id = n.secret_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenSecret:
    """A secret that cannot be opened, and the reason."""

    secret_id: str
    kind: str
    owner_id: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Rotation:
    """The result of a rotation.

    broken: secrets that the last pass could not open and did not change; examples: the first of
    them. left: secrets that are not under the newest key at the end.
    """

    rotated: dict[str, int] = field(default_factory=dict[str, int])
    broken: int = 0
    examples: list[BrokenSecret] = field(default_factory=list[BrokenSecret])
    left: int = 0

    @property
    def total(self) -> int:
        """The number of secrets that were re-encrypted."""
        return sum(self.rotated.values())


async def rotate_secrets(database: Database, sealer: Sealer, *, batch: int = BATCH) -> Rotation:
    """Re-encrypt every secret that is not under the newest key, until none is left.

    Safe under load and after an interrupted run. Secrets that a process with older settings writes
    meanwhile are found by the next pass.
    """
    result, idle = Rotation(), 0
    while True:
        before = result.total
        result.broken, result.examples = 0, []
        await _pass(database, sealer, batch, result)
        counts = await count_secrets(database)
        result.left = sum(count.number for count in counts if count.key_id != sealer.newest_id)
        idle = 0 if result.total > before else idle + 1
        if result.left <= result.broken or idle == MAX_IDLE_PASSES:
            return result
        await asyncio.sleep(PASS_INTERVAL_SECONDS)


async def _pass(database: Database, sealer: Sealer, batch: int, result: Rotation) -> None:
    """Visit the table once, with one transaction for each batch."""
    after = ""
    while True:
        async with database.as_system() as conn:
            rows = await conn.fetch(LOCK_BATCH, sealer.newest_id, after, batch)
            rotated = _reseal(sealer, rows, result)
            if rotated:
                data = [sealed.data for sealed in rotated.values()]
                await conn.execute(UPDATE_BATCH, sealer.newest_id, list(rotated), data)
        for row in rows:
            if row["secret_id"] in rotated:
                result.rotated[row["kind"]] = result.rotated.get(row["kind"], 0) + 1
        if rotated:
            log.info("secrets.rotated", number=len(rotated))
        if len(rows) < batch:
            return
        after = rows[-1]["secret_id"]


def _reseal(sealer: Sealer, rows: list[asyncpg.Record], result: Rotation) -> dict[str, Sealed]:
    """Return the new sealed values by secret id; note the secrets that cannot be opened."""
    resealed: dict[str, Sealed] = {}
    for row in rows:
        secret = secret_from_row(row)
        try:
            plaintext = sealer.open(secret.sealed, context=secret.context)
        except SealError as error:
            _note_broken(result, secret, error)
        else:
            resealed[secret.secret_id] = sealer.seal(plaintext, context=secret.context)
    return resealed


def _note_broken(result: Rotation, secret: StoredSecret, error: SealError) -> None:
    result.broken += 1
    if len(result.examples) < EXAMPLES:
        result.examples.append(
            BrokenSecret(
                secret_id=secret.secret_id,
                kind=secret.kind,
                owner_id=secret.owner_id,
                reason=str(error),
            )
        )
