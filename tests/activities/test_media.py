"""Media jobs with the real engine, database and object storage."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.testing import ActivityEnvironment

from activities.media import MediaActivities
from core.domain.failures import Failure, FailureCode
from core.domain.ids import AssetId, UserId
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobReport, Output
from core.domain.messages.media import MediaOrder, MediaResult, PosterOrder
from core.domain.plans import AssetSource, Parameters
from core.domain.states import ExecutionStatus, JobState
from core.jobs.rendering.files import MadeFile, RunFiles
from core.jobs.rendering.posters import Posters
from core.jobs.rendering.runs import MediaRuns
from core.media.engine.engine import Engine
from core.platform.settings.media import MediaSettings
from core.store.database import Database
from core.store.executions.ends import mark_ended
from core.store.executions.executions import claim_execution
from core.store.executions.views.status import ExecutionStatusRecord, JobStatus, find_execution
from core.store.files.assets import Asset, list_execution_assets, list_job_assets
from core.store.files.job_files import JobFiles
from core.store.files.user_assets import NewUpload, insert_upload, reserve_key
from core.store.jobs.jobs import JobRecord, get_job
from core.store.jobs.media_jobs import get_notes, record_reserved
from core.store.jobs.reports import report_to_json
from core.store.recovery.rebuild import requeue_execution
from core.store.recovery.start_memo import StartMemo, get_accepted, rebuild
from core.webhooks.asset_links import AssetLinks
from core.webhooks.execution_result import result_json
from tests.media.operations import sources
from tests.support.activity_harness import open_objects
from tests.support.media_rows import FILM, AcceptedFilm, accept_film, new_film
from tests.support.rows import VIDEO, new_user
from tests.support.servers import FreshDatabase, S3Server

pytestmark = pytest.mark.guarantee("G2")

LINKS = AssetLinks(public_base_url="http://api.test", cdn_base_url=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """The activities with their clients, and a clip to make films of."""

    database: Database
    files: RunFiles
    media: MediaActivities
    clip: Path
    other: Path
    owner_dsn: str

    async def film(self, user_id: UserId, *, optional: bool = False) -> AcceptedFilm:
        return await accept_film(self.database, new_film(user_id, optional=optional))

    async def deliver(self, one: AcceptedFilm, content: Path) -> None:
        """Complete the bought video, with this file in our storage."""
        async with self.database.as_user(one.user_id) as conn:
            job = await get_job(conn, one.video.job_id)
        made = [MadeFile(kind=MediaKind.VIDEO, path=content)]
        stored = await self.files.store(job, made)
        report = JobReport(
            state=JobState.COMPLETED, outputs=(Output(url="", kind=MediaKind.VIDEO),)
        )
        async with self.database.as_user(one.user_id) as conn:
            await record_reserved(conn, stored)
            await conn.execute(
                "UPDATE jobs SET state = 'completed', report = $2, ended_at = now() WHERE job_id = $1",
                job.job_id,
                report_to_json(report),
            )

    async def upload(self, user_id: UserId, content: Path) -> AssetId:
        """Store a sound of the user's own."""
        key = f"uploads/{content.name}"
        stored = await self.files.files.objects.put_stream(
            key,
            chunks_of(content),
            expected=MediaKind.AUDIO,
            max_bytes=2**20,
            on_progress=lambda _: None,
        )
        async with self.database.as_user(user_id) as conn:
            await reserve_key(conn, user_id, key)
            upload = await insert_upload(
                conn,
                user_id,
                NewUpload(
                    object_key=key,
                    kind=MediaKind.AUDIO,
                    size_bytes=stored.size_bytes,
                    sha256=stored.sha256,
                    content_type=stored.content_type,
                    media=MediaFacts(duration_seconds=1.0),
                ),
            )
        assert upload is not None
        return upload.asset_id

    async def run(
        self,
        one: AcceptedFilm,
        failure: Failure | None = None,
        *,
        makes: MediaKind | None = None,
    ) -> MediaResult:
        order = MediaOrder(job=one.film, is_final=True, input_failure=failure, makes=makes)
        return await ActivityEnvironment().run(self.media.run, order)

    async def read(self, one: AcceptedFilm) -> tuple[ExecutionStatusRecord, JobStatus]:
        """Return the execution and the film's job."""
        async with self.database.as_user(one.user_id) as conn:
            record = await find_execution(conn, one.user_id, one.execution_id)
        assert record is not None
        return record, next(job for job in record.jobs if job.step == FILM)

    async def stored(self, one: AcceptedFilm) -> list[Asset]:
        """Return the files of the film's job."""
        async with self.database.as_user(one.user_id) as conn:
            return await list_job_assets(conn, one.film.job_id)

    async def sha256(self, one: AcceptedFilm) -> str:
        return (await self.stored(one))[0].sha256

    async def poster(self, one: AcceptedFilm) -> None:
        order = PosterOrder(
            user_id=one.user_id,
            execution_id=one.execution_id,
            asset_id=(await self.stored(one))[0].asset_id,
        )
        await ActivityEnvironment().run(self.media.make_poster, order)

    async def restore(self, one: AcceptedFilm, memo: StartMemo) -> None:
        """Make the database one that was restored from a backup without the execution."""
        owner = await asyncpg.connect(self.owner_dsn)
        await owner.execute(
            "TRUNCATE executions, execution_events, budgets, file_deletions CASCADE"
        )
        await owner.close()
        async with self.database.as_system() as conn:
            await rebuild(conn, memo)
            await requeue_execution(conn, one.execution_id, 1, cancel_reason=None)
        async with self.database.as_user(one.user_id) as conn:
            await claim_execution(conn, one.ref)


async def chunks_of(content: Path) -> AsyncGenerator[bytes]:
    yield await asyncio.to_thread(content.read_bytes)


def padded(clip: Path) -> Path:
    """Return the same clip with other bytes."""
    other = clip.with_name("other.mp4")
    other.write_bytes(clip.read_bytes() + b"\0\0\0\x08free")
    return other


@pytest.fixture
async def studio(
    fresh_database: FreshDatabase, s3_server: S3Server, tmp_path: Path
) -> AsyncGenerator[Studio]:
    settings = MediaSettings(media_threads=1, media_scratch_folder=tmp_path / "scratch")
    engine = await Engine.start(settings)
    clip = sources.clip(tmp_path / "clip.mp4", "red", *sources.click(0.5, 0.8))
    async with (
        Database.open(fresh_database.application_dsn, max_connections=4) as database,
        open_objects(s3_server) as objects,
    ):
        files = RunFiles(database=database, files=JobFiles(objects=objects, key_secret=b"k" * 32))
        yield Studio(
            database=database,
            files=files,
            media=MediaActivities(
                runs=MediaRuns(database=database, engine=engine, files=files),
                posters=Posters(database=database, engine=engine, files=files),
                links=LINKS,
            ),
            clip=clip,
            other=padded(clip),
            owner_dsn=fresh_database.owner_dsn,
        )
    engine.close()


async def test_equal_steps_of_a_user_are_made_once(studio: Studio) -> None:
    user_id = await new_user(studio.database)
    one, other = await studio.film(user_id), await studio.film(user_id)
    for each in (one, other):
        await studio.deliver(each, studio.clip)
        assert await studio.run(each) == MediaResult(state=JobState.COMPLETED)
        posters = [item for item in await studio.stored(each) if item.kind is MediaKind.IMAGE]
        assert posters == [], "the poster of the first film is not copied"
        await studio.poster(each)
    _, first = await studio.read(one)
    _, second = await studio.read(other)
    assert (first.reused_from, second.reused_from) == (None, first.job_id)
    assert await studio.sha256(one) == await studio.sha256(other)
    assert await studio.run(other) == MediaResult(state=JobState.COMPLETED)


async def test_finished_step_is_not_rendered_again_after_a_restore(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await studio.film(await new_user(studio.database))
    async with studio.database.as_user(one.user_id) as conn:
        memo = StartMemo(document=(await get_accepted(conn, one.execution_id)).document)
    await studio.deliver(one, studio.clip)
    await studio.run(one)
    made = await studio.sha256(one)

    await studio.restore(one, memo)
    await studio.deliver(one, studio.clip)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "workspace", None)  # nothing can be rendered
        assert await studio.run(one) == MediaResult(state=JobState.COMPLETED)
    assert await studio.sha256(one) == made

    # With another input, the file in the bucket is of no use.
    await studio.restore(one, memo)
    await studio.deliver(one, studio.other)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "workspace", None)
        with pytest.raises(TypeError):
            await studio.run(one)


async def test_step_stored_by_a_killed_worker_keeps_its_notes(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await studio.film(await new_user(studio.database))
    await studio.deliver(one, studio.clip)
    with monkeypatch.context() as patched:
        patched.setattr(MediaRuns, "_complete", None)  # the worker ends before it
        with pytest.raises(TypeError):
            await studio.run(one)
    async with studio.database.as_user(one.user_id) as conn:
        before = await get_notes(conn, one.film.job_id)
    assert before.processor_ms > 0
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "workspace", None)
        assert await studio.run(one) == MediaResult(state=JobState.COMPLETED)
    async with studio.database.as_user(one.user_id) as conn:
        assert await get_notes(conn, one.film.job_id) == before


async def test_same_step_of_another_user_gives_identical_bytes(studio: Studio) -> None:
    one, other = [await studio.film(await new_user(studio.database)) for _ in range(2)]
    for each in (one, other):
        await studio.deliver(each, studio.clip)
        await studio.run(each)
    assert (await studio.read(other))[1].reused_from is None
    assert await studio.sha256(one) == await studio.sha256(other)


async def test_verdict_on_the_media_fails_the_job(studio: Studio, tmp_path: Path) -> None:
    one = await studio.film(await new_user(studio.database))
    damaged = tmp_path / "damaged.mp4"
    head = studio.clip.read_bytes()
    damaged.write_bytes(head.replace(b"avc1", b"none").replace(b"mp4a", b"none"))
    await studio.deliver(one, damaged)
    result = await studio.run(one)
    assert result.failure is not None
    assert result.failure.code is FailureCode.MEDIA_FAILED
    assert str(tmp_path) not in result.failure.message
    _, job = await studio.read(one)
    assert (job.state, job.failure) == (
        JobState.FAILED,
        {"code": "media_failed", "message": result.failure.message},
    )


async def test_lost_input_fails_the_job_with_its_reason(studio: Studio) -> None:
    one = await studio.film(await new_user(studio.database))
    lost = Failure.of(FailureCode.OUTPUT_EXPIRED)
    assert await studio.run(one, lost) == MediaResult(state=JobState.FAILED, failure=lost)


async def test_step_without_any_input_fails(studio: Studio) -> None:
    one = await studio.film(await new_user(studio.database), optional=True)
    result = await studio.run(one)
    assert result.failure is not None
    assert result.failure.code in (FailureCode.MEDIA_FAILED, FailureCode.OUTPUT_INVALID)


async def test_step_fails_if_only_sound_is_left_of_a_video(studio: Studio, tmp_path: Path) -> None:
    user_id = await new_user(studio.database)
    tone = sources.ffmpeg(tmp_path / "tone.wav", *sources.tone(1))
    music = await studio.upload(user_id, tone)
    items = [{"media": {"step": VIDEO, "optional": True}}, {"media": {"asset": music}}]
    new = new_film(user_id, optional=True)
    video, film = new.steps
    parameters = Parameters(
        sources={**film.parameters.sources, "items/1/media": AssetSource(asset=music)},
        operation={"items": items},
    )
    one = await accept_film(
        studio.database, replace(new, steps=(video, replace(film, parameters=parameters)))
    )
    result = await studio.run(one, makes=MediaKind.VIDEO)
    assert result.failure is not None
    assert result.failure.code is FailureCode.MEDIA_FAILED
    assert "optional files failed" in result.failure.message
    assert (await studio.read(one))[1].state is JobState.FAILED


async def test_finished_video_gets_one_poster(studio: Studio) -> None:
    one = await studio.film(await new_user(studio.database))
    await studio.deliver(one, studio.clip)
    await studio.run(one)
    async with studio.database.as_user(one.user_id) as conn:
        stored = await list_execution_assets(conn, one.execution_id)
        film = next(item.asset for item in stored if item.step == FILM)
        await mark_ended(
            conn,
            one.execution_id,
            ExecutionStatus.COMPLETED,
            progress=100,
            result=result_json(stored, LINKS),
            error=None,
        )
    order = PosterOrder(user_id=one.user_id, execution_id=one.execution_id, asset_id=film.asset_id)
    for _ in range(2):
        await ActivityEnvironment().run(studio.media.make_poster, order)
    record, _ = await studio.read(one)
    async with studio.database.as_user(one.user_id) as conn:
        posters = [
            item.asset
            for item in await list_execution_assets(conn, one.execution_id)
            if item.asset.kind is MediaKind.IMAGE
        ]
    (poster,) = posters
    assert record.result is not None
    assert record.result["posterUrl"] == LINKS.address(poster.asset_id, poster.object_key)
    assert record.result["url"] == LINKS.address(film.asset_id, film.object_key)
    assert record.result["outputs"]["result"]["id"] == film.asset_id


async def test_worker_that_wakes_late_overwrites_no_file(studio: Studio) -> None:
    """It has another engine, so it has made other bytes of the same step."""
    one = await studio.film(await new_user(studio.database))
    await studio.deliver(one, studio.clip)
    frozen, thawed = asyncio.Event(), asyncio.Event()

    class Frozen(RunFiles):
        async def store(self, job: JobRecord, made: Sequence[MadeFile], **more: Any) -> list[Asset]:
            frozen.set()
            await thawed.wait()
            return await super().store(
                job, [replace(item, path=studio.other) for item in made], **more
            )

    engine = copy(studio.media.runs.engine)
    engine.key = "another engine"
    runs = replace(
        studio.media.runs,
        engine=engine,
        files=Frozen(database=studio.database, files=studio.files.files),
    )
    late = asyncio.ensure_future(
        ActivityEnvironment().run(replace(studio.media, runs=runs).run, MediaOrder(job=one.film))
    )
    await frozen.wait()
    assert await studio.run(one) == MediaResult(state=JobState.COMPLETED)
    made = await studio.sha256(one)
    thawed.set()
    assert await late == MediaResult(state=JobState.COMPLETED)
    assert await studio.sha256(one) == made
    async with studio.database.as_user(one.user_id) as conn:
        stored = await list_execution_assets(conn, one.execution_id)
    film = next(item.asset for item in stored if item.step == FILM)
    objects = studio.files.files.objects
    content = b"".join([chunk async for chunk in objects.read(film.object_key)])
    assert hashlib.sha256(content).hexdigest() == made
