"""Posters: one picture of every finished video, made after its execution has ended."""

from collections.abc import Callable
from dataclasses import dataclass

from core.domain.ids import AssetId
from core.domain.media.content import MediaKind
from core.domain.messages.media import PosterOrder
from core.domain.plans import OperationKind
from core.jobs.rendering.files import MadeFile, RunFiles
from core.media.engine.engine import Engine
from core.media.operations.port import InputFile
from core.media.operations.references import references_in
from core.media.operations.registry import OPERATIONS
from core.store.database import Database
from core.store.executions.ends import set_poster
from core.store.files.assets import POSTER_NUMBER, Asset, list_execution_assets
from core.store.jobs.jobs import JobRecord, get_job
from core.store.jobs.media_jobs import record_reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Posters:
    """Makes posters. Repeating is safe."""

    database: Database
    engine: Engine
    files: RunFiles

    async def make(self, order: PosterOrder, address: Callable[[AssetId, str], str]) -> None:
        """Store a picture of a video, and add its address to the execution's result.

        A video whose execution was deleted gets none. Raises OperationError, EngineError and
        MediaError.
        """
        async with self.database.as_user(order.user_id) as conn:
            stored = await list_execution_assets(conn, order.execution_id)
            video = next(
                (item.asset for item in stored if item.asset.asset_id == order.asset_id), None
            )
            if video is None or any(
                item.asset.job_id == video.job_id and item.asset.output_number == POSTER_NUMBER
                for item in stored
            ):
                return
            job = await get_job(conn, video.job_id)
        poster = await self._render(job, video)
        async with self.database.as_user(order.user_id) as conn:
            await record_reserved(conn, [poster])
            url = address(poster.asset_id, poster.object_key)
            await set_poster(conn, order.execution_id, url)

    async def _render(self, job: JobRecord, video: Asset) -> Asset:
        operation = OPERATIONS[OperationKind.POSTER]
        parameters = operation.parameters.model_validate({"source": {"asset": video.asset_id}})
        ((pointer, _),) = references_in(parameters)
        async with self.engine.workspace(
            inputs_bytes=video.size_bytes, seconds=0.0, is_final=True
        ) as workspace:
            path = workspace.folder / "input-0"
            await self.files.download(video.object_key, path, size_bytes=video.size_bytes)
            probe = await self.engine.check(path, MediaKind.VIDEO)
            source = InputFile(path=path, sha256=video.sha256, probe=probe)
            (made,) = await operation.render(parameters, {pointer: source}, workspace)
            (poster,) = await self.files.store(
                job,
                [MadeFile(kind=MediaKind.IMAGE, path=made.path)],
                first_number=POSTER_NUMBER,
            )
            return poster
