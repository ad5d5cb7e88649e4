"""Detection of a database that was restored from an older backup.

It is checked before a worker takes any work, and every second afterwards.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import asyncpg

from core.domain.media.content import StorageRefusedError, StorageUnavailableError
from core.platform.observability.logging import get_logger
from core.store.database import DATABASE_DOWN, SET_SYSTEM, Database
from core.store.files.object_storage import ObjectStore
from core.store.login import UnsafeLoginError
from core.store.recovery.restore_marker import (
    DatabaseBehindError,
    MarkerChangedError,
    MarkerUnreadableError,
    Position,
    RestoreMarker,
    SerialWatch,
    get_position,
    pause_behind,
    read_marker,
    write_marker,
)

log = get_logger(__name__)

EVERY_SECONDS: Final = 1.0
RECHECK_SECONDS: Final = 2.0
"""The pause between checks at the start, while the database is behind or cannot be checked."""
LOG_AGAIN_SECONDS: Final = 30.0
CHECK_ERRORS: tuple[type[Exception], ...] = (
    StorageUnavailableError,
    StorageRefusedError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidParameterValueError,  # the roles do not exist before the first migration
    *DATABASE_DOWN,
)
RECOVER_ACTION: Final = "run takeone-admin recover"
RECOVERY_ADVICE = (
    "The database appears to have been restored from an older backup. Jobs marked unsent may "
    "already have been billed, so no work is taken and nothing is sent. Run: takeone-admin recover"
)


async def detect_restore(
    database: Database, objects: ObjectStore
) -> tuple[RestoreMarker | None, Position, bool]:
    """Return the restore marker, the database's position, and whether the database is behind.

    If it is, submits are paused. Raises MarkerUnreadableError and the errors of CHECK_ERRORS.
    """
    marker, position = await _compare(database, objects)
    if not position.behind and position.serial < _serial(marker):
        # Look twice: a recovery that ended between the two reads has lowered the restore marker.
        marker, position = await _compare(database, objects)
    behind = position.behind or position.serial < _serial(marker)
    if behind and not position.behind:
        async with database.as_system() as conn:
            await pause_behind(conn)
    return marker, position, behind


async def _compare(
    database: Database, objects: ObjectStore
) -> tuple[RestoreMarker | None, Position]:
    """Read the restore marker first: sends that are marked meanwhile are in the database too."""
    marker = await read_marker(objects)
    async with database.as_system() as conn:
        return marker, await get_position(conn)


def _serial(marker: RestoreMarker | None) -> int:
    return marker.serial if marker is not None else 0


@dataclass(slots=True, kw_only=True)
class RestoreDetector:
    """Compares the database with its restore marker.

    leads: whether this process is the reconciler's leader, which writes the restore marker.
    """

    database: Database
    objects: ObjectStore
    serial_watch: SerialWatch
    leads: Callable[[], bool]
    _written: int = field(default=0, init=False)
    _version: str | None = field(default=None, init=False)
    _led: bool = field(default=False, init=False)
    _storage_is_down: bool = field(default=False, init=False)
    _logged_at: float | None = field(default=None, init=False)

    async def wait_until_current(self, stopping: asyncio.Event) -> bool:
        """Wait until the database is known not to be behind; an operator may have to recover it.

        Return False if `stopping` was set meanwhile. Raises UnsafeLoginError.
        """
        while not stopping.is_set():
            try:
                marker, position, behind = await detect_restore(self.database, self.objects)
            except MarkerUnreadableError as error:
                self._report_unreadable(error)
            except UnsafeLoginError:
                raise
            except CHECK_ERRORS as error:
                reason = str(error) or type(error).__name__
                log.warning("restore_detector.check_failed", reason=reason)
            else:
                if not behind:
                    self.serial_watch.note(max(_serial(marker), position.serial))
                    return True
                self._report_behind(marker, position)
            await _sleep(stopping, RECHECK_SECONDS)
        return False

    async def watch(self) -> None:
        """Check every second until the database is behind, then set `serial_watch.behind`."""
        while not self.serial_watch.behind.is_set():
            try:
                await self._check_once()
            except DatabaseBehindError:
                self.serial_watch.behind.set()
            except MarkerUnreadableError as error:
                log.error("restore_detector.mark_rewritten", reason=str(error))  # noqa: TRY400 - no trace
                self._led, self._written, self._version = True, 0, error.version
            except MarkerChangedError:
                # Another process leads, or led until now. Compare before the next write.
                log.info("restore_detector.mark_changed")
                self._led = False
            except (StorageUnavailableError, StorageRefusedError) as error:
                if not self._storage_is_down:
                    log.warning("restore_detector.mark_not_written", reason=str(error))
                self._storage_is_down = True
            except (*DATABASE_DOWN, asyncpg.PostgresError) as error:
                log.info("restore_detector.position_not_read", reason=type(error).__name__)
            await _sleep(self.serial_watch.behind, EVERY_SECONDS)
        self._report_behind(None, None)
        await self._pause()

    async def _check_once(self) -> None:
        position = await self._position()
        if not self.leads():
            self._led = False
            return
        if not self._led:
            # Another process led until now. It has seen later sends, and may still write.
            marker = await read_marker(self.objects)
            position = await self._position()
            self._written = _serial(marker)
            self._version = marker.version if marker is not None else None
            if position.serial < self._written:
                self._report_behind(marker, position)
                raise DatabaseBehindError
            self._led = True
        if position.serial > self._written:
            marker = RestoreMarker(
                serial=position.serial, at=datetime.now(UTC), database=position.database
            )
            self._version = await write_marker(self.objects, marker, replaces=self._version)
            self._written = position.serial
        self._storage_is_down = False

    async def _position(self) -> Position:
        """Return the database's position.

        Raises DatabaseBehindError if it is marked as behind or this process has seen a later send.
        """
        # Before the query: a send that is noted meanwhile may be missing in its result.
        known = self.serial_watch.known
        async with self.database.as_system() as conn:
            position = await get_position(conn)
        if position.behind or position.serial < known:
            self._report_behind(None, position)
            raise DatabaseBehindError
        self.serial_watch.note(position.serial)
        return position

    async def _pause(self) -> None:
        """Pause submits for all processes, including the API.

        It uses its own connection: the pool refuses this database by now.
        """
        try:
            async with self.database.listening_connection() as connection, connection.transaction():
                await connection.execute(SET_SYSTEM)
                await pause_behind(connection)
        except (asyncpg.PostgresError, *DATABASE_DOWN) as error:
            log.warning("restore_detector.pause_failed", reason=type(error).__name__)

    def _report_unreadable(self, error: MarkerUnreadableError) -> None:
        if self._may_log():
            log.error("restore_detector.mark_unreadable", reason=str(error), action=RECOVER_ACTION)

    def _report_behind(self, marker: RestoreMarker | None, position: Position | None) -> None:
        if not self._may_log():
            return
        log.error(
            "database.restored_from_backup",
            database=position.database if position is not None else None,
            latest_send=position.serial if position is not None else None,
            marked=marker.serial if marker is not None else None,
            marked_at=marker.at.isoformat() if marker is not None else None,
            marked_database=marker.database if marker is not None else None,
            action=RECOVER_ACTION,
        )

    def _may_log(self) -> bool:
        """Return True at most once in LOG_AGAIN_SECONDS."""
        now = time.monotonic()
        if self._logged_at is not None and now - self._logged_at < LOG_AGAIN_SECONDS:
            return False
        self._logged_at = now
        return True


async def _sleep(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
