"""Deliveries: jobs that the answer of their create call finishes, with their files in its body.

The job's id is committed before the body is read. So a body that is cut, or a worker that is killed
while it reads, is a download that failed: the job stays submitted, and the poller reads it at its
provider, which serves the files again at no cost.
"""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

from temporalio import activity

from core.domain.messages.jobs import JobRef, ProviderHandle, SettleJobResult
from core.domain.states import ExecutionStatus
from core.jobs.key_ring import known_model
from core.jobs.settlement import settle_job
from core.platform.observability.logging import get_logger
from core.platform.temporal.policies import ANSWER_BODY_SECONDS
from core.providers.port import Delivered, Delivery
from core.providers.registry import Providers
from core.store.database import Database
from core.store.files.assets import Asset, insert_asset
from core.store.files.job_files import JobFiles
from core.store.jobs.failovers import lock_before_end
from core.store.jobs.jobs import JobRecord, mark_reported

log = get_logger(__name__)

CHECKED_AGAIN_SECONDS: Final = 5.0
"""When the poller looks at a job whose settlement may not have reached its workflow."""
CHUNK_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """Stores delivered files and settles their jobs."""

    database: Database
    providers: Providers
    files: JobFiles

    async def settle(
        self, ref: JobRef, job: JobRecord, handle: ProviderHandle, delivery: Delivery
    ) -> SettleJobResult | None:
        """Store the files, and settle the job with its report in one transaction.

        Return None if they did not arrive or could not be stored, also because the worker stops:
        the poller then reads the job. Raises nothing but cancellation.
        """
        try:
            async with asyncio.timeout(ANSWER_BODY_SECONDS):
                delivered = await _read_until_stop(delivery)
                if delivered is None:
                    return None
                outputs = zip(delivered.report.outputs, delivered.files, strict=True)
                assets = [
                    (await self.files.put(job, number, output.kind, _chunks(content)))[0]
                    for number, (output, content) in enumerate(outputs)
                ]
            return await self._record(ref, job, handle, delivered, assets)
        except Exception as error:  # noqa: BLE001 - recorded: nothing may hide that it is submitted
            log.warning(
                "job.delivery_failed",
                execution_id=ref.execution_id,
                job_id=ref.job_id,
                reason=f"{type(error).__name__}: {error}"[:200],
            )
            return None
        finally:
            await delivery.close()

    async def _record(
        self,
        ref: JobRef,
        job: JobRecord,
        handle: ProviderHandle,
        delivered: Delivered,
        assets: list[Asset],
    ) -> SettleJobResult | None:
        async with self.database.as_user(ref.user_id) as conn:
            await lock_before_end(conn, job)
            for asset in assets:
                await insert_asset(conn, asset)
            stored = await mark_reported(
                conn,
                ref.job_id,
                delivered.report,
                provider_job_id=handle.provider_job_id,
                next_look_seconds=CHECKED_AGAIN_SECONDS,
            )
            if (
                stored is None
                or stored.execution_status != ExecutionStatus.RUNNING
                or known_model(self.providers, stored) is None
            ):
                return None  # the row decides
            return await settle_job(
                conn, self.providers, stored, generation=stored.execution_generation
            )


async def _read_until_stop(delivery: Delivery) -> Delivered | None:
    """Read a delivery; return None if the worker stops meanwhile."""
    reading = asyncio.ensure_future(delivery.read())
    stopping = asyncio.create_task(activity.wait_for_worker_shutdown())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await reading if reading.done() else None
    finally:
        for task in (reading, stopping):
            task.cancel()
        await asyncio.gather(reading, stopping, return_exceptions=True)


async def _chunks(content: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
