"""Files of completed jobs that could not be stored: a look before a retry buys them again."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Final

import httpx

from core.domain.failures import FailureCode
from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.media.containers.completeness import WholeFile
from core.domain.media.content import (
    SNIFF_BYTES,
    IncompleteError,
    MediaError,
    SourceGoneError,
    WrongContentError,
    require_kind,
)
from core.domain.messages.jobs import Output
from core.domain.retries import RetryAction, decide_retry
from core.ordering.services import OrderingServices
from core.platform.egress.client import Outbound
from core.store.database import Connection
from core.store.executions.retries import get_retried_execution, list_outputs, list_purchases
from core.store.files.downloads import open_source

LOOK_SECONDS: Final = 5.0
"""The caller of the retry waits for it."""
LOOK_BYTES: Final = 256 * 1024**2


async def list_lost_outputs(
    conn: Connection, user_id: UserId, execution_id: ExecutionId
) -> Mapping[JobId, Sequence[Output]]:
    """Return the files of the completed jobs that a retry would buy again.

    Without locks, since the retry itself decides under them: a row that another transaction holds
    must not make a crowd of equal requests wait.
    """
    execution = await get_retried_execution(conn, user_id, execution_id)
    if (
        execution is None
        or not execution.status.ended
        or execution.error is FailureCode.OUTPUT_TOO_LARGE
    ):
        return {}
    purchases = await list_purchases(conn, execution_id)
    steps = decide_retry(execution.plan, purchases, execution.error)
    job_ids = [
        item.last.job_id
        for item in steps
        if item.action is RetryAction.BOUGHT and item.last.produced
    ]
    return await list_outputs(conn, job_ids)


async def find_served_jobs(
    services: OrderingServices, outputs: Mapping[JobId, Sequence[Output]]
) -> Collection[JobId]:
    """Return the jobs whose files the provider may still serve.

    A provider that cannot be reached now proves no loss, so its jobs are returned too. Call it
    without an open transaction: files are read.
    """
    if not outputs:
        return ()
    async with Outbound.open(services.outbound) as outbound, outbound.client() as client:
        files = [(job_id, output) for job_id, produced in outputs.items() for output in produced]
        served = await asyncio.gather(*(_may_be_served(client, output) for _, output in files))
    lost = {job_id for (job_id, _), seen in zip(files, served, strict=True) if not seen}
    return [job_id for job_id in outputs if job_id not in lost]


async def _may_be_served(client: httpx.AsyncClient, output: Output) -> bool:
    """Return False if the file is certainly missing, incomplete or of another kind."""
    if output.needs_key:  # which only workers have
        return True
    try:
        async with open_source(
            client, output.url, max_bytes=LOOK_BYTES, total_seconds=LOOK_SECONDS
        ) as chunks:
            head = b""
            async for chunk in chunks:
                head += chunk
                if len(head) >= SNIFF_BYTES:
                    break
            content_type = require_kind(head[:SNIFF_BYTES], output.kind)

            async def whole() -> AsyncIterator[bytes]:
                yield head
                async for chunk in chunks:
                    yield chunk

            async for _ in WholeFile(content_type).read(whole()):
                pass
    except (SourceGoneError, WrongContentError, IncompleteError):
        return False
    except MediaError:
        return True
    return True
