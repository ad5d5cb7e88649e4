"""Every column that holds a sealed secret: how many are sealed with which key, and sealing them
anew under the newest.

A row says by its first bytes whether it is done, so whoever stops in the middle loses nothing, and
whoever goes on needs no notes. Nothing is waited for and little is held: rows that somebody works
on are passed over, and met in a later pass. As system.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, LiteralString

import asyncpg

from core.platform.crypto.sealing import SealError, SecretBox
from core.platform.observability.logging import get_logger
from core.store.accounts.users import webhook_secret_context
from core.store.database import Database
from core.store.executions.executions import own_secret_context
from core.store.providers.user_keys import provider_key_context
from core.store.webhooks.signing_secrets import endpoint_secret_context

log = get_logger(__name__)

BATCH = 200
"""Rows that are locked together, for some milliseconds."""
COUNT_TIMEOUT_SECONDS = 600.0
EXAMPLES = 20
LOOK_AGAIN_SECONDS = 0.5
GIVE_UP_AFTER = 60
"""Passes in a row that found only rows which others hold."""

# $1: how everything begins that is sealed as of now. $2: the id after which. $3: how many.
TAKE_USERS = """
SELECT user_id AS id, user_id, webhook_secret_sealed AS sealed FROM users
WHERE user_id > $2 AND substring(webhook_secret_sealed FROM 1 FOR length($1::bytea)) <> $1
ORDER BY user_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
PUT_USERS = """
UPDATE users AS t SET webhook_secret_sealed = n.sealed FROM unnest($1::text[], $2::bytea[]) AS n (id, sealed)
WHERE t.user_id = n.id
"""
TAKE_PREVIOUS_OF_USERS = """
SELECT user_id AS id, user_id, previous_webhook_secret_sealed AS sealed FROM users
WHERE user_id > $2 AND substring(previous_webhook_secret_sealed FROM 1 FOR length($1::bytea)) <> $1
ORDER BY user_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
PUT_PREVIOUS_OF_USERS = """
UPDATE users AS t SET previous_webhook_secret_sealed = n.sealed FROM unnest($1::text[], $2::bytea[]) AS n (id, sealed)
WHERE t.user_id = n.id
"""
TAKE_ENDPOINTS = """
SELECT endpoint_id AS id, user_id, secret_sealed AS sealed FROM endpoints
WHERE endpoint_id > $2 AND secret_sealed IS NOT NULL
  AND substring(secret_sealed FROM 1 FOR length($1::bytea)) <> $1
ORDER BY endpoint_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
PUT_ENDPOINTS = """
UPDATE endpoints AS t SET secret_sealed = n.sealed FROM unnest($1::text[], $2::bytea[]) AS n (id, sealed)
WHERE t.endpoint_id = n.id
"""
TAKE_PREVIOUS_OF_ENDPOINTS = """
SELECT endpoint_id AS id, user_id, previous_secret_sealed AS sealed FROM endpoints
WHERE endpoint_id > $2 AND previous_secret_sealed IS NOT NULL
  AND substring(previous_secret_sealed FROM 1 FOR length($1::bytea)) <> $1
ORDER BY endpoint_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
PUT_PREVIOUS_OF_ENDPOINTS = """
UPDATE endpoints AS t SET previous_secret_sealed = n.sealed FROM unnest($1::text[], $2::bytea[]) AS n (id, sealed)
WHERE t.endpoint_id = n.id
"""
TAKE_EXECUTIONS = """
SELECT execution_id AS id, webhook_secret_sealed AS sealed FROM executions
WHERE execution_id > $2 AND webhook_secret_sealed IS NOT NULL
  AND substring(webhook_secret_sealed FROM 1 FOR length($1::bytea)) <> $1
ORDER BY execution_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
PUT_EXECUTIONS = """
UPDATE executions AS t SET webhook_secret_sealed = n.sealed FROM unnest($1::text[], $2::bytea[]) AS n (id, sealed)
WHERE t.execution_id = n.id
"""
TAKE_WEBHOOKS = """
SELECT event_id AS id, execution_id, webhook_secret_sealed AS sealed FROM webhooks
WHERE event_id > $2 AND webhook_secret_sealed IS NOT NULL
  AND substring(webhook_secret_sealed FROM 1 FOR length($1::bytea)) <> $1
ORDER BY event_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
PUT_WEBHOOKS = """
UPDATE webhooks AS t SET webhook_secret_sealed = n.sealed FROM unnest($1::text[], $2::bytea[]) AS n (id, sealed)
WHERE t.event_id = n.id
"""
TAKE_PROVIDER_KEYS = """
SELECT provider_key_id AS id, user_id, provider, version, key_sealed AS sealed FROM provider_keys
WHERE provider_key_id > $2 AND key_sealed IS NOT NULL
  AND substring(key_sealed FROM 1 FOR length($1::bytea)) <> $1
ORDER BY provider_key_id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED
"""
PUT_PROVIDER_KEYS = """
UPDATE provider_keys AS t SET key_sealed = n.sealed FROM unnest($1::text[], $2::bytea[]) AS n (id, sealed)
WHERE t.provider_key_id = n.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedColumn:
    """context: where a row's secret may be opened."""

    name: str
    take: LiteralString
    put: LiteralString
    context: Callable[[asyncpg.Record], str]


def _user_context(row: asyncpg.Record) -> str:
    return webhook_secret_context(row["user_id"])


def _endpoint_context(row: asyncpg.Record) -> str:
    return endpoint_secret_context(row["id"])


def _execution_context(row: asyncpg.Record) -> str:
    return own_secret_context(row["id"])


def _webhook_context(row: asyncpg.Record) -> str:
    """A webhook has a copy of its execution's secret."""
    return own_secret_context(row["execution_id"])


def _provider_key_context(row: asyncpg.Record) -> str:
    return provider_key_context(row["user_id"], row["provider"], row["id"], row["version"])


SEALED_COLUMNS: Final = (
    SealedColumn(
        name="users.webhook_secret_sealed", take=TAKE_USERS, put=PUT_USERS, context=_user_context
    ),
    SealedColumn(
        name="users.previous_webhook_secret_sealed",
        take=TAKE_PREVIOUS_OF_USERS,
        put=PUT_PREVIOUS_OF_USERS,
        context=_user_context,
    ),
    SealedColumn(
        name="endpoints.secret_sealed",
        take=TAKE_ENDPOINTS,
        put=PUT_ENDPOINTS,
        context=_endpoint_context,
    ),
    SealedColumn(
        name="endpoints.previous_secret_sealed",
        take=TAKE_PREVIOUS_OF_ENDPOINTS,
        put=PUT_PREVIOUS_OF_ENDPOINTS,
        context=_endpoint_context,
    ),
    SealedColumn(
        name="executions.webhook_secret_sealed",
        take=TAKE_EXECUTIONS,
        put=PUT_EXECUTIONS,
        context=_execution_context,
    ),
    SealedColumn(
        name="webhooks.webhook_secret_sealed",
        take=TAKE_WEBHOOKS,
        put=PUT_WEBHOOKS,
        context=_webhook_context,
    ),
    SealedColumn(
        name="provider_keys.key_sealed",
        take=TAKE_PROVIDER_KEYS,
        put=PUT_PROVIDER_KEYS,
        context=_provider_key_context,
    ),
)

COUNT_SEALED = """
SELECT place, get_byte(header, 0) AS version, encode(substring(header FROM 2), 'hex') AS key_id, count(*) AS number
FROM (
    SELECT 'users.webhook_secret_sealed' AS place, substring(webhook_secret_sealed FROM 1 FOR 9) AS header FROM users
    UNION ALL
    SELECT 'users.previous_webhook_secret_sealed', substring(previous_webhook_secret_sealed FROM 1 FOR 9)
    FROM users WHERE previous_webhook_secret_sealed IS NOT NULL
    UNION ALL
    SELECT 'endpoints.secret_sealed', substring(secret_sealed FROM 1 FOR 9)
    FROM endpoints WHERE secret_sealed IS NOT NULL
    UNION ALL
    SELECT 'endpoints.previous_secret_sealed', substring(previous_secret_sealed FROM 1 FOR 9)
    FROM endpoints WHERE previous_secret_sealed IS NOT NULL
    UNION ALL
    SELECT 'executions.webhook_secret_sealed', substring(webhook_secret_sealed FROM 1 FOR 9)
    FROM executions WHERE webhook_secret_sealed IS NOT NULL
    UNION ALL
    SELECT 'webhooks.webhook_secret_sealed', substring(webhook_secret_sealed FROM 1 FOR 9)
    FROM webhooks WHERE webhook_secret_sealed IS NOT NULL
    UNION ALL
    SELECT 'provider_keys.key_sealed', substring(key_sealed FROM 1 FOR 9)
    FROM provider_keys WHERE key_sealed IS NOT NULL
) AS sealed
GROUP BY place, header ORDER BY place, header
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedCount:
    """So many secrets of a column under one master key. version: of the form, see
    core/platform/crypto/sealing.py.
    """

    place: str
    version: int
    key_id: str
    number: int

    def is_done(self, box: SecretBox) -> bool:
        return bytes([self.version]) + bytes.fromhex(self.key_id) == box.header


async def count_sealed(database: Database) -> list[SealedCount]:
    """As of one moment."""
    async with database.reading_all() as conn:
        rows = await conn.fetch(COUNT_SEALED, timeout=COUNT_TIMEOUT_SECONDS)
    return [SealedCount(**dict(row)) for row in rows]


@dataclass(slots=True, kw_only=True)
class Renewal:
    """What a run has done, by column. broken: what its last pass could not open, and left as it is;
    the first of them with the reason. left: not renewed at the end: broken, or held by others
    whenever it was its turn.
    """

    renewed: dict[str, int] = field(default_factory=dict[str, int])
    broken: int = 0
    examples: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    left: int = 0

    def note_renewed(self, column: str, number: int) -> None:
        self.renewed[column] = self.renewed.get(column, 0) + number

    def note_broken(self, column: str, row_id: str, reason: str) -> None:
        self.broken += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append((column, row_id, reason))


async def renew_all(database: Database, box: SecretBox, *, batch: int = BATCH) -> Renewal:
    """Seal every secret anew that is not under the newest master key, until there is none; also
    under load, and again after a run that was stopped. What meanwhile is written by a process
    that has another newest key is met as well.
    """
    done, idle = Renewal(), 0
    while True:
        before = sum(done.renewed.values())
        done.broken, done.examples = 0, []
        for column in SEALED_COLUMNS:
            await _pass(database, box, column, batch, done)
        counts = await count_sealed(database)
        done.left = sum(count.number for count in counts if not count.is_done(box))
        idle = 0 if sum(done.renewed.values()) > before else idle + 1
        if done.left <= done.broken or idle == GIVE_UP_AFTER:
            return done
        await asyncio.sleep(LOOK_AGAIN_SECONDS)


async def _pass(
    database: Database, box: SecretBox, column: SealedColumn, batch: int, done: Renewal
) -> None:
    """Once through a column, a transaction for each batch."""
    after = ""
    while True:
        async with database.as_system() as conn:
            rows = await conn.fetch(column.take, box.header, after, batch)
            renewed = _renewed(box, column, rows, done)
            if renewed:
                await conn.execute(column.put, list(renewed), list(renewed.values()))
        if renewed:
            done.note_renewed(column.name, len(renewed))
            log.info("secrets sealed anew", column=column.name, number=len(renewed))
        if len(rows) < batch:
            return
        after = rows[-1]["id"]


def _renewed(
    box: SecretBox, column: SealedColumn, rows: list[asyncpg.Record], done: Renewal
) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for row in rows:
        try:
            found[row["id"]] = box.renew(row["sealed"], context=column.context(row))
        except SealError as error:
            done.note_broken(column.name, row["id"], str(error))
    return found
