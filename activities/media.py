"""Activities of media steps: run a job with the media engine, and make the poster of a video."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from temporalio import activity

from core.domain.failures import Failure, FailureCode
from core.domain.media.content import MediaError
from core.domain.messages.media import MediaFailure, MediaOrder, MediaResult, PosterOrder
from core.domain.states import JobState
from core.jobs.rendering.posters import Posters
from core.jobs.rendering.runs import MediaRuns
from core.media.engine.errors import EngineError, ScratchFullError
from core.media.operations.port import OperationError
from core.platform.observability.logging import get_logger
from core.platform.temporal.failures import hand_over, retry_later
from core.platform.temporal.heartbeats import heartbeats
from core.platform.temporal.policies import MEDIA_OUTAGE_TRIES, MEDIA_TRIES
from core.store.database import DATABASE_DOWN
from core.store.jobs.media_jobs import FilesExpiredError
from core.webhooks.asset_links import AssetLinks

log = get_logger(__name__)
Result = TypeVar("Result")

SCRATCH_FULL_SECONDS: Final = 5.0
"""Before the next try of a run for which other runs leave no disk space."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaActivities:
    """The clients of the media activities."""

    runs: MediaRuns
    posters: Posters
    links: AssetLinks

    @activity.defn(name="run_media_job")
    async def run(self, order: MediaOrder) -> MediaResult:
        """Run a media step's job and store its files.

        Repeating is safe: the same inputs give the same files, under the same keys. A cancel, a
        lost worker and a shutdown end the program with all of its processes. Heartbeat details: how
        many tries the engine has failed, and the share that is done. An outage of the disk, the
        storage or the database never fails the job.
        """
        ids = {"execution_id": order.job.execution_id, "job_id": order.job.job_id}
        details = [_failed_tries(), 0.0]

        def note_progress(share: float) -> None:
            details[1] = round(share, 3)

        try:
            async with heartbeats(details):
                result = await _until_shutdown(self.runs.run(order, note_progress))
        except ScratchFullError as error:
            failure = Failure.of(FailureCode.SERVICE_UNAVAILABLE, str(error))
            return _postponed(order, error, failure, after_seconds=SCRATCH_FULL_SECONDS)
        except EngineError as error:
            failure = Failure.of(FailureCode.INTERNAL_ERROR, str(error))
            log.warning("media.run_failed", **ids, reason=str(error))
            if details[0] + 1 < MEDIA_TRIES:
                activity.heartbeat(details[0] + 1, 0.0)
                raise retry_later(failure) from error
            result = await self.runs.give_up(order.job, failure)
        except MediaError as error:  # its text is for operators
            return _postponed(order, error, Failure.of(FailureCode.STORAGE_UNAVAILABLE))
        except (FilesExpiredError, *DATABASE_DOWN) as error:
            return _postponed(order, error, Failure.of(FailureCode.SERVICE_UNAVAILABLE))
        if result.state.ended:
            log.info("media.ended", **ids, state=result.state)
        return result

    @activity.defn(name="fail_media_job")
    async def fail(self, order: MediaFailure) -> None:
        """End a job whose runs were all lost. Repeating is safe: a job that has ended stays."""
        await self.runs.give_up(order.job, order.failure)

    @activity.defn(name="make_poster")
    async def make_poster(self, order: PosterOrder) -> None:
        """Make the poster of a finished video. Repeating is safe: a video has one."""
        try:
            async with heartbeats():
                await _until_shutdown(self.posters.make(order, self.links.address))
        except (OperationError, EngineError, MediaError) as error:
            log.warning(
                "poster.failed", execution_id=order.execution_id, reason=type(error).__name__
            )
            if not isinstance(error, OperationError):
                raise retry_later(Failure.of(FailureCode.SERVICE_UNAVAILABLE)) from error


def _postponed(
    order: MediaOrder, error: Exception, failure: Failure, *, after_seconds: float = 0.0
) -> MediaResult:
    """Raise what Temporal tries again later; return WAITING where few of its tries are left.

    The workflow then begins a new series of tries, so an outage lasts as long as it lasts: the
    execution's deadline ends it.
    """
    log.warning(
        "media.postponed",
        execution_id=order.job.execution_id,
        job_id=order.job.job_id,
        reason=f"{type(error).__name__}: {error}"[:200],
    )
    if activity.info().attempt >= MEDIA_OUTAGE_TRIES:
        return MediaResult(state=JobState.WAITING)
    raise retry_later(failure, after_seconds=after_seconds) from error


async def _until_shutdown(work: Coroutine[Any, Any, Result]) -> Result:
    """Run work, or end it at once when the worker shuts down, so that another worker continues.

    Nothing is paid for, so nothing has to be finished.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(activity.wait_for_worker_shutdown())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise hand_over()
        return working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


def _failed_tries() -> int:
    details = activity.info().heartbeat_details
    return int(details[0]) if details else 0
