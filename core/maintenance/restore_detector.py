"""Whether the database has gone back to the past: looked at before any work is taken, and every
second after.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg

from core.domain.media import StorageRefusedError, StorageUnavailableError
from core.platform.observability.logging import get_logger
from core.store.database import DATABASE_DOWN, SET_SYSTEM, Database
from core.store.files.object_storage import ObjectStore
from core.store.login import UnsafeLoginError
from core.store.recovery.restore_marker import (
    DatabaseBehindError,
    HighWater,
    Mark,
    MarkUnreadableError,
    Position,
    get_position,
    pause_behind,
    read_mark,
    write_mark,
)

log = get_logger(__name__)

EVERY_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 2.0
"""While something is waited for."""
SAY_AGAIN_SECONDS = 30.0
CANNOT_LOOK: tuple[type[Exception], ...] = (
    StorageUnavailableError,
    StorageRefusedError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidParameterValueError,  # the roles: migrations have not run yet
    *DATABASE_DOWN,
)
WHAT_TO_DO = (
    "the database has gone back to the past: what it holds as not sent may have been paid for. No work is taken and "
    "nothing is sent. Run: takeone-admin recover"
)


async def find_behind(
    database: Database, objects: ObjectStore
) -> tuple[Mark | None, Position, bool]:
    """The mark, where the database stands, and whether it is behind; if so, everything is paused.

    Raises MarkUnreadableError and CANNOT_LOOK.
    """
    mark, position = await _compare(database, objects)
    if not position.behind and position.serial < _serial(mark):
        mark, position = await _compare(
            database, objects
        )  # a recovery that ended between the two has lowered the mark
    behind = position.behind or position.serial < _serial(mark)
    if behind and not position.behind:
        async with database.as_system() as conn:
            await pause_behind(conn)
    return mark, position, behind


async def _compare(database: Database, objects: ObjectStore) -> tuple[Mark | None, Position]:
    """The mark first: what is sent and marked meanwhile is in the database then, too."""
    mark = await read_mark(objects)
    async with database.as_system() as conn:
        return mark, await get_position(conn)


def _serial(mark: Mark | None) -> int:
    return mark.serial if mark is not None else 0


@dataclass(slots=True, kw_only=True)
class MarkKeeper:
    """leads: whether this process is the one that sweeps; it writes the mark."""

    database: Database
    objects: ObjectStore
    high_water: HighWater
    leads: Callable[[], bool]
    _written: int = field(default=0, init=False)
    _led: bool = field(default=False, init=False)
    _storage_is_down: bool = field(default=False, init=False)
    _said_at: float | None = field(default=None, init=False)

    async def wait_until_current(self, stopping: asyncio.Event) -> bool:
        """Until it is known that the database is not behind; a person may have to recover it first.

        False: told to stop meanwhile. Raises UnsafeLoginError.
        """
        while not stopping.is_set():
            try:
                mark, position, behind = await find_behind(self.database, self.objects)
            except MarkUnreadableError as error:
                self._say(f"{error}. No work is taken. Run: takeone-admin recover", None, None)
            except UnsafeLoginError:
                raise
            except CANNOT_LOOK as error:
                reason = str(error) or type(error).__name__
                log.warning(
                    "waiting to compare the database with its high-water mark", reason=reason
                )
            else:
                if not behind:
                    self.high_water.note(max(_serial(mark), position.serial))
                    self._written = _serial(mark)
                    return True
                self._say(WHAT_TO_DO, mark, position)
            await _sleep(stopping, LOOK_AGAIN_SECONDS)
        return False

    async def watch(self) -> None:
        """Until the database is found to be behind; then `high_water.behind` is set. Or until
        cancelled.
        """
        while not self.high_water.behind.is_set():
            try:
                await self._look()
            except DatabaseBehindError:
                self.high_water.behind.set()
            except MarkUnreadableError as error:
                log.error("the high-water mark is written anew", reason=str(error))  # noqa: TRY400 - no trace
                self._led, self._written = True, 0
            except (StorageUnavailableError, StorageRefusedError) as error:
                if not self._storage_is_down:
                    log.warning("the high-water mark cannot be written", reason=str(error))
                self._storage_is_down = True
            except (*DATABASE_DOWN, asyncpg.PostgresError) as error:
                log.info("the position of the database cannot be read", reason=type(error).__name__)
            await _sleep(self.high_water.behind, EVERY_SECONDS)
        self._say(WHAT_TO_DO, None, None)
        await self._pause()

    async def _look(self) -> None:
        position = await self._position()
        if not self.leads():
            self._led = False
            return
        if (
            not self._led
        ):  # another process led until now, and has seen more; it may be writing still
            mark = await read_mark(self.objects)
            position = await self._position()
            self._written = _serial(mark)
            if position.serial < self._written:
                self._say(WHAT_TO_DO, mark, position)
                raise DatabaseBehindError
            self._led = True
        if position.serial > self._written:
            await write_mark(
                self.objects,
                Mark(serial=position.serial, at=datetime.now(UTC), database=position.database),
            )
            self._written = position.serial
        self._storage_is_down = False

    async def _position(self) -> Position:
        """Raises DatabaseBehindError: somebody has found it behind, or this process has
        seen more.
        """
        known = (
            self.high_water.known
        )  # before the query: what is noted meanwhile need not be in its answer
        async with self.database.as_system() as conn:
            position = await get_position(conn)
        if position.behind or position.serial < known:
            self._say(WHAT_TO_DO, None, position)
            raise DatabaseBehindError
        self.high_water.note(position.serial)
        return position

    async def _pause(self) -> None:
        """For all processes: those that start, those that have not noticed, and the API.

        On a connection of its own: the pool refuses this database by now.
        """
        try:
            async with self.database.listening_connection() as connection, connection.transaction():
                await connection.execute(SET_SYSTEM)
                await pause_behind(connection)
        except (asyncpg.PostgresError, *DATABASE_DOWN) as error:
            log.warning("the pause could not be written", reason=type(error).__name__)

    def _say(self, what: str, mark: Mark | None, position: Position | None) -> None:
        now = time.monotonic()
        if self._said_at is not None and now - self._said_at < SAY_AGAIN_SECONDS:
            return
        self._said_at = now
        log.error(
            what,
            database=position.database if position is not None else None,
            latest_send=position.serial if position is not None else None,
            marked=mark.serial if mark is not None else None,
            marked_at=mark.at.isoformat() if mark is not None else None,
            marked_database=mark.database if mark is not None else None,
        )


async def _sleep(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return
