"""No new work while the database is being recovered from an older backup.

Rows that are accepted before the recovery has finished would conflict with the rows that it
rebuilds.
"""

import asyncio
import time
from typing import Final

from fastapi import Request

from api.http.problems.documents import unavailable
from api.http.problems.texts import RECOVERY_RUNNING
from core.maintenance.restores.detector import CHECK_ERRORS, RECOVERY_ADVICE, detect_restore
from core.platform.observability.logging import get_logger
from core.store.database import Database
from core.store.files.object_storage import ObjectStore
from core.store.recovery.restore_marker import MarkerUnreadableError, get_position

CACHE_SECONDS: Final = 1.0
COMPARE_AGAIN_SECONDS: Final = 5.0

log = get_logger(__name__)


class RecoveryAdmission:
    """Whether requests that start work are admitted."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects
        self._is_recovering = False
        self._checked_at: float | None = None

    async def compare_with_restore_marker(self) -> None:
        """Compare once, as soon as storage and database answer. Workers compare periodically."""
        while True:
            try:
                _, _, behind = await detect_restore(self._database, self._objects)
            except MarkerUnreadableError as error:
                log.warning("restore_marker.unreadable", reason=str(error))
                return
            except CHECK_ERRORS as error:
                log.info("restore_marker.comparison_postponed", reason=type(error).__name__)
                await asyncio.sleep(COMPARE_AGAIN_SECONDS)
            except Exception as error:  # recorded: the comparison must not end without a result
                log.exception("restore_marker.comparison_crashed", reason=repr(error))
                await asyncio.sleep(COMPARE_AGAIN_SECONDS)
            else:
                if behind:
                    log.error("restore_marker.database_behind", advice=RECOVERY_ADVICE)
                return

    async def is_recovering(self) -> bool:
        """Return the state of the database, at most a second old."""
        now = time.monotonic()
        if self._checked_at is None or now - self._checked_at > CACHE_SECONDS:
            async with self._database.as_system() as conn:
                self._is_recovering = (await get_position(conn)).behind
            self._checked_at = now
        return self._is_recovering


async def refuse_during_recovery(request: Request) -> None:
    """Raise ProblemError for a request that would start work while a recovery is due or running."""
    recovery: RecoveryAdmission = request.app.state.services.recovery
    if await recovery.is_recovering():
        raise unavailable(RECOVERY_RUNNING)
