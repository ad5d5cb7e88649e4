"""Tries of a media job: what is tried again, what ends it, and what ends its program."""

import asyncio
import errno
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.media import MediaActivities
from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.media.content import StorageRefusedError, StorageUnavailableError
from core.domain.messages.jobs import JobRef
from core.domain.messages.media import MediaOrder, MediaResult
from core.domain.states import JobState
from core.media.engine.errors import EngineError, ScratchFullError
from core.platform.temporal.policies import MEDIA, MEDIA_OUTAGE_TRIES
from core.store.jobs.media_jobs import FilesExpiredError

pytestmark = pytest.mark.guarantee("G5")

ORDER = MediaOrder(
    job=JobRef(
        user_id=UserId("usr_1"),
        execution_id=ExecutionId("exec_1"),
        job_id=JobId("job_1"),
        generation=1,
    )
)
KILLED = EngineError("The media program was ended by signal 9.")


@dataclass(slots=True, kw_only=True)
class Runs:
    """Raises an error, or runs until it is ended."""

    error: Exception | None = None
    running: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    async def run(self, _order: MediaOrder, _on_progress: object) -> MediaResult:
        if self.error is not None:
            raise self.error
        self.running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True
        return MediaResult(state=JobState.COMPLETED)

    async def give_up(self, _ref: JobRef, failure: Failure) -> MediaResult:
        return MediaResult(state=JobState.FAILED, failure=failure)


def stage(runs: Runs, *, failed_tries: int = 0) -> tuple[MediaActivities, ActivityEnvironment]:
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, heartbeat_details=[failed_tries, 0.0])
    unused: Any = None
    media = MediaActivities(runs=cast("Any", runs), posters=unused, links=unused)
    return media, environment


@pytest.mark.parametrize("failed_tries", [0, 1])
async def test_killed_program_is_tried_three_times(failed_tries: int) -> None:
    media, environment = stage(Runs(error=KILLED), failed_tries=failed_tries)
    noted: list[Any] = []
    environment.on_heartbeat = lambda *details: noted.append(details)
    with pytest.raises(ApplicationError) as raised:
        await environment.run(media.run, ORDER)
    assert not raised.value.non_retryable
    assert noted[-1] == (failed_tries + 1, 0.0)


async def test_third_killed_program_fails_the_job() -> None:
    media, environment = stage(Runs(error=KILLED), failed_tries=2)
    result = await environment.run(media.run, ORDER)
    assert result.failure == Failure.of(FailureCode.INTERNAL_ERROR, str(KILLED))


OUTAGES = [
    ScratchFullError("Running media steps leave less than the needed 9 MiB of disk."),
    StorageUnavailableError("object storage is unreachable"),
    StorageRefusedError("object storage rejects the credentials for bucket 'films'"),
    ConnectionRefusedError("PostgreSQL does not answer"),
    OSError(errno.ENOSPC, "No space left on device"),
    FilesExpiredError("videos/1.mp4"),
]


@pytest.mark.parametrize("error", OUTAGES)
async def test_outage_is_no_failed_try(error: Exception) -> None:
    media, environment = stage(Runs(error=error), failed_tries=2)
    with pytest.raises(ApplicationError) as raised:
        await environment.run(media.run, ORDER)
    assert not raised.value.non_retryable
    assert "films" not in raised.value.message


@pytest.mark.parametrize("error", OUTAGES)
async def test_no_outage_uses_up_the_tries(error: Exception) -> None:
    media, environment = stage(Runs(error=error))
    assert MEDIA.maximum_attempts > MEDIA_OUTAGE_TRIES
    environment.info = replace(environment.info, attempt=MEDIA_OUTAGE_TRIES)
    assert await environment.run(media.run, ORDER) == MediaResult(state=JobState.WAITING)


async def test_shutdown_ends_the_program_and_hands_over() -> None:
    runs = Runs()
    media, environment = stage(runs)
    running = asyncio.ensure_future(environment.run(media.run, ORDER))
    await runs.running.wait()
    environment.worker_shutdown()
    with pytest.raises(ApplicationError) as raised:
        await running
    assert (raised.value.type, runs.ended) == ("hand_over", True)


async def test_cancel_ends_the_program() -> None:
    runs = Runs()
    media, environment = stage(runs)
    running = asyncio.ensure_future(environment.run(media.run, ORDER))
    await runs.running.wait()
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert runs.ended
