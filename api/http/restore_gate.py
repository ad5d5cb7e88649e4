"""No new work while the database is one of the past: what is accepted now would be in the way of
its recovery.
"""

import asyncio
import time

from fastapi import Request

from api.http.problems import unavailable
from core.maintenance.restore_detector import CANNOT_LOOK, WHAT_TO_DO, find_behind
from core.platform.observability.logging import get_logger
from core.store.database import Database
from core.store.files.object_storage import ObjectStore
from core.store.recovery.restore_marker import MarkUnreadableError, get_position

log = get_logger(__name__)

FRESH_SECONDS = 1.0
LOOK_AGAIN_SECONDS = 5.0
STARTS_WORK = ("/generate-video", "/retry")


class Gate:
    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database = database
        self._objects = objects
        self._behind = False
        self._asked_at: float | None = None

    async def compare_with_mark(self) -> None:
        """Once, as soon as the storage and the database answer; workers look again and again."""
        while True:
            try:
                _, _, behind = await find_behind(self._database, self._objects)
            except MarkUnreadableError as error:
                log.warning("the high-water mark cannot be read", reason=str(error))
                return
            except CANNOT_LOOK as error:
                log.info("not compared with the high-water mark yet", reason=type(error).__name__)
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            else:
                if behind:
                    log.error(WHAT_TO_DO)
                return

    async def is_closed(self) -> bool:
        """As of at most a second ago."""
        now = time.monotonic()
        if self._asked_at is None or now - self._asked_at > FRESH_SECONDS:
            async with self._database.as_system() as conn:
                self._behind = (await get_position(conn)).behind
            self._asked_at = now
        return self._behind


async def refuse_while_closed(request: Request) -> None:
    """Before every request that starts work. Raises ProblemError."""
    if request.method != "POST" or not request.url.path.endswith(STARTS_WORK):
        return
    gate: Gate = request.app.state.services.gate
    if await gate.is_closed():
        raise unavailable(
            "The database is being recovered. Nothing was accepted: send it again later."
        )
