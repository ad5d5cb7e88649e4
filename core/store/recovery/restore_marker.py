"""How far the sends of this database have come, kept outside of it: a database restored to the past
is behind its mark.

What is compared is the highest serial among the rows of `sends`, which are never deleted. Not the
sequence: after a restore from a base backup it may stand up to 32 numbers further than what was
handed out.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from core.store.database import SET_SYSTEM, Connection, NewConnection
from core.store.files.object_storage import ObjectStore
from core.store.jobs.submit_pauses import ALL

MARK_KEY: Final = "takeone/high-water.json"
DATABASE_BEHIND: Final = "database_behind"
"""The reason of the pause that only `recover` lifts."""


class MarkUnreadableError(Exception):
    """There is a mark, and nobody can tell what it says. Its text is one line for a person."""


class DatabaseBehindError(Exception):
    """The database has gone back to the past: what it says was not sent may have been. Nothing may
    be sent.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """serial: of the latest send that was committed. database: which one, to tell a person."""

    serial: int
    at: datetime
    database: str


def mark_to_json(mark: Mark) -> bytes:
    plain = {"serial": mark.serial, "at": mark.at.isoformat(), "database": mark.database}
    return json.dumps(plain).encode()


def mark_from_json(content: bytes) -> Mark:
    """Raises MarkUnreadableError."""
    try:
        plain: Mapping[str, Any] = json.loads(content)
        serial, at, database = (
            plain["serial"],
            datetime.fromisoformat(plain["at"]),
            plain["database"],
        )
    except (ValueError, TypeError, KeyError, UnicodeDecodeError):
        raise MarkUnreadableError(
            f"the object {MARK_KEY} in the bucket is not a high-water mark"
        ) from None
    if not isinstance(serial, int) or serial < 0 or not isinstance(database, str):
        raise MarkUnreadableError(f"the object {MARK_KEY} in the bucket is not a high-water mark")
    return Mark(serial=serial, at=at.astimezone(UTC), database=database)


async def read_mark(objects: ObjectStore) -> Mark | None:
    """None: none was ever written. Raises StorageUnavailableError, StorageRefusedError,
    MarkUnreadableError.
    """
    content = await objects.read_small(MARK_KEY)
    return mark_from_json(content) if content is not None else None


async def write_mark(objects: ObjectStore, mark: Mark) -> None:
    """Raises StorageUnavailableError, StorageRefusedError."""
    await objects.write_small(MARK_KEY, mark_to_json(mark), content_type="application/json")


GET_POSITION = """
SELECT (SELECT coalesce(max(serial), 0) FROM sends) AS serial,
       (SELECT reason FROM submit_pauses WHERE scope = $1) AS pause_reason,
       current_database() || ' at ' || coalesce(host(inet_server_addr()), 'local') || ':' || inet_server_port()
           AS database
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where the database stands. behind: somebody has found that it went back, and it was not
    recovered yet.
    """

    serial: int
    database: str
    behind: bool


async def get_position(conn: Connection) -> Position:
    """As system."""
    row = await conn.fetchrow(GET_POSITION, ALL)
    assert row is not None  # noqa: S101 - a SELECT without FROM
    return Position(
        serial=row["serial"],
        database=row["database"] or "",
        behind=row["pause_reason"] == DATABASE_BEHIND,
    )


PAUSE_BEHIND = """
INSERT INTO submit_pauses (scope, reason) VALUES ($1, $2)
ON CONFLICT (scope) DO UPDATE SET reason = excluded.reason, created_at = now()
"""


async def pause_behind(conn: Connection) -> None:
    """From its commit on nothing is sent, until the database was recovered. It outranks a pause by
    hand. As system.
    """
    await conn.execute(PAUSE_BEHIND, ALL, DATABASE_BEHIND)


GET_MAX_SERIAL = "SELECT coalesce(max(serial), 0) FROM sends"


class HighWater:
    """The highest serial this process knows to be committed. Whoever finds less is in a database of
    the past.
    """

    def __init__(self, known: int = 0) -> None:
        self.known = known
        self.behind = asyncio.Event()
        """Set once: this process takes no more work."""

    def note(self, serial: int) -> None:
        """A send with this serial is committed."""
        self.known = max(self.known, serial)

    def check(self, known_before: int, serial: int) -> None:
        """A serial that was just taken is above all that were committed before its transaction
        began.

        Raises DatabaseBehindError: roll back.
        """
        if serial <= known_before:
            self._found(serial)

    async def verify(self, connection: NewConnection) -> None:
        """A connection that was just opened leads to a database that has all sends we know of.

        Raises DatabaseBehindError.
        """
        known = self.known
        if not known:
            return
        async with connection.transaction():
            await connection.execute(SET_SYSTEM)
            serial: int = await connection.fetchval(GET_MAX_SERIAL)
        if serial < known:
            self._found(serial)

    def _found(self, serial: int) -> None:
        self.behind.set()
        raise DatabaseBehindError(
            f"the database has sends up to {serial}, up to {self.known} are known"
        )
