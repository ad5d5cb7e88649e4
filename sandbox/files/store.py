"""Production of output files in threads, and their storage."""

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from sandbox.files.production import CONTENT_TYPES, Produced, produce
from sandbox.files.sources import Fetcher, Sources
from sandbox.jobs.store import Job, Jobs, StoredFile
from sandbox.models.model import Model
from sandbox.models.orders import Order
from sandbox.settings import Json


class Files:
    """Fetches the files of inputs and renders the files of jobs in threads."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="render")
        self._fetcher = Fetcher(jobs, self._threads)

    async def fetch(self, job: Job, model: Model) -> Sources:
        """Fetch and measure the files that a job's input names. Raise SourceError."""
        return await self._fetcher.fetch(job, model)

    async def make(
        self, job: Job, order: Order, sources: Sources, *, tiny: bool, black: bool, life_seconds: float
    ) -> tuple[Produced, list[Json]]:  # fmt: skip
        """Render and store the files of a fitted order. Return what was produced and the files."""
        produced = await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: produce(order, sources.contents, tiny=tiny, black=black)
        )
        outputs: list[Json] = []
        for content in produced.files:
            name = f"{secrets.token_urlsafe(18)}.{produced.extension}"
            now, content_type = time.time(), CONTENT_TYPES[produced.extension]
            file = StoredFile(
                name=name, job_id=job.id, provider=job.provider, model=job.model, content_type=content_type,
                created_at=now, expires_at=now + life_seconds,
            )  # fmt: skip
            self._jobs.add_file(file, content)
            outputs.append(
                {"name": name, "content_type": content_type, "bytes": len(content),
                 "width": produced.order.width, "height": produced.order.height,
                 "seconds": produced.order.seconds}
            )  # fmt: skip
        return produced, outputs

    async def close(self) -> None:
        await self._fetcher.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
