"""The restore marker: the highest send serial, stored outside PostgreSQL.

A database that was restored from an older backup has a lower serial than its marker. The serial is
compared with the rows of `sends`, which are never deleted, and not with the sequence: after a
restore from a base backup, a sequence may be up to 32 numbers ahead.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from core.store.database import SET_SYSTEM, Connection, NewConnection
from core.store.files.object_storage import ObjectChangedError, ObjectStore
from core.store.jobs.submit_pauses import ALL, DATABASE, pause

MARKER_KEY: Final = "takeone/high-water.json"
DATABASE_BEHIND: Final = "database_behind"
"""The reason of the pause that only `recover` ends."""


class MarkerUnreadableError(Exception):
    """The restore marker cannot be parsed. The text is one line for a person.

    version: of the object, to replace it.
    """

    def __init__(self, version: str = "") -> None:
        super().__init__(f"the object {MARKER_KEY} in the bucket is not a restore marker")
        self.version = version


class MarkerChangedError(Exception):
    """Another process has written the marker since it was read: read and compare it again."""


class DatabaseBehindError(Exception):
    """The database appears to have been restored from an older backup.

    Jobs marked unsent may already have been billed, so nothing may be sent.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreMarker:
    """The marker. serial: of the latest committed send. database: its name, for messages.

    version: of the stored object; None before it is stored.
    """

    serial: int
    at: datetime
    database: str
    version: str | None = None


def marker_to_json(marker: RestoreMarker) -> bytes:
    plain = {"serial": marker.serial, "at": marker.at.isoformat(), "database": marker.database}
    return json.dumps(plain).encode()


def marker_from_json(content: bytes) -> RestoreMarker:
    """Parse the marker. Raises MarkerUnreadableError."""
    try:
        plain: Mapping[str, Any] = json.loads(content)
        serial, at, database = (
            plain["serial"],
            datetime.fromisoformat(plain["at"]),
            plain["database"],
        )
    except (ValueError, TypeError, KeyError, UnicodeDecodeError):
        raise MarkerUnreadableError from None
    if not isinstance(serial, int) or serial < 0 or not isinstance(database, str):
        raise MarkerUnreadableError
    return RestoreMarker(serial=serial, at=at.astimezone(UTC), database=database)


async def read_marker(objects: ObjectStore) -> RestoreMarker | None:
    """Read the marker; None: it was never written.

    Raises StorageUnavailableError, StorageRefusedError, MarkerUnreadableError.
    """
    stored = await objects.read_small(MARKER_KEY)
    if stored is None:
        return None
    try:
        return replace(marker_from_json(stored.content), version=stored.version)
    except MarkerUnreadableError:
        raise MarkerUnreadableError(stored.version) from None


async def write_marker(objects: ObjectStore, marker: RestoreMarker, *, replaces: str | None) -> str:
    """Replace the marker of this version and return the new version. None: there was no marker.

    So a process that stopped after its last look cannot write an older serial over a newer one.
    Raises MarkerChangedError, StorageUnavailableError, StorageRefusedError.
    """
    content, kind = marker_to_json(marker), "application/json"
    try:
        return await objects.write_small(MARKER_KEY, content, content_type=kind, replaces=replaces)
    except ObjectChangedError:
        raise MarkerChangedError from None


_SCOPES: Final = (DATABASE, ALL)
"""The scopes of the pause. Version 0.1 used ALL, in which an operator may have a pause too."""

GET_POSITION = """
SELECT (SELECT coalesce(max(serial), 0) FROM sends) AS serial,
       EXISTS (SELECT FROM submit_pauses WHERE scope = ANY($1::text[]) AND reason = $2) AS behind,
       current_database() || ' at ' || coalesce(host(inet_server_addr()), 'local') || ':' || inet_server_port()
           AS database
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The highest serial of the database. behind: a restore was detected and not recovered yet."""

    serial: int
    database: str
    behind: bool


async def get_position(conn: Connection) -> Position:
    """Return the position of the database. As system."""
    row = await conn.fetchrow(GET_POSITION, _SCOPES, DATABASE_BEHIND)
    assert row is not None  # noqa: S101 - a SELECT without FROM
    return Position(
        serial=row["serial"],
        database=row["database"] or "",
        behind=row["behind"],
    )


async def pause_behind(conn: Connection) -> None:
    """Pause all sends until the database is recovered, apart from operators' pauses. As system."""
    await pause(conn, DATABASE, DATABASE_BEHIND)


RESUME_RECOVERED = "DELETE FROM submit_pauses WHERE scope = ANY($1::text[]) AND reason = $2"


async def resume_recovered(conn: Connection) -> None:
    """End the pause of a recovered database; operators' own pauses stay. As system."""
    await conn.execute(RESUME_RECOVERED, _SCOPES, DATABASE_BEHIND)


GET_MAX_SERIAL = "SELECT coalesce(max(serial), 0) FROM sends"


class SerialWatch:
    """The highest committed serial that this process has seen.

    A database with a lower serial has been restored.
    """

    def __init__(self, known: int = 0) -> None:
        self.known = known
        self.behind = asyncio.Event()
        """Set once; the process then takes no more work."""

    def note(self, serial: int) -> None:
        """Note that a send with this serial is committed."""
        self.known = max(self.known, serial)

    def check(self, known_before: int, serial: int) -> None:
        """Check that a new serial is above all serials committed before its transaction began.

        Raises DatabaseBehindError: roll back.
        """
        if serial <= known_before:
            self._report_restored(serial)

    async def verify(self, connection: NewConnection) -> None:
        """Check that the database of a new connection has every send that this process has seen.

        Raises DatabaseBehindError.
        """
        known = self.known
        if not known:
            return
        async with connection.transaction():
            await connection.execute(SET_SYSTEM)
            serial: int = await connection.fetchval(GET_MAX_SERIAL)
        if serial < known:
            self._report_restored(serial)

    def _report_restored(self, serial: int) -> None:
        self.behind.set()
        raise DatabaseBehindError(
            f"the database has sends up to {serial}, but sends up to {self.known} were committed"
        )
