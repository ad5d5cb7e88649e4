"""Reuse of purchases: a paid step of which an earlier job of the user brought the same files."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.ids import JobId
from core.domain.media.content import (
    MediaError,
    StorageRefusedError,
    StorageUnavailableError,
)
from core.domain.messages.jobs import JobRef, PurchaseClaim, ReuseOrder, SettleJobResult
from core.domain.plans import StepOutput
from core.domain.states import JobState
from core.jobs.key_ring import known_model
from core.jobs.rendering.files import RunFiles
from core.platform.observability.logging import get_logger
from core.providers.content_key import purchase_key
from core.providers.registry import Providers
from core.store.database import Connection, Database
from core.store.executions.limits.deadlines import stop_deadline
from core.store.files.assets import Asset, list_execution_assets, list_made_assets
from core.store.files.user_assets import find_asset
from core.store.jobs.content_keys import claim_purchase, forget_purchase
from core.store.jobs.jobs import JobRecord, get_job
from core.store.jobs.reused_jobs import complete_reused_job
from core.store.money.charges import get_money

log = get_logger(__name__)


async def claim_for_job(database: Database, providers: Providers, ref: JobRef) -> PurchaseClaim:
    """Return whether a job is to be bought, waits for another job, or gets that job's files.

    Repeating is safe. While it waits, the deadline of its execution stands still, as it does while
    the other job waits for a slot at its provider.
    """
    async with database.as_user(ref.user_id) as conn:
        job = await get_job(conn, ref.job_id)
        key = await _content_key(conn, providers, job) if job.state is JobState.WAITING else None
        if key is None:
            return PurchaseClaim()
        claim = await claim_purchase(conn, ref.user_id, key, ref.job_id)
    if claim.is_busy:
        async with database.as_user(ref.user_id) as conn:
            await stop_deadline(conn, ref.execution_id, ref.generation)
    return PurchaseClaim(source=claim.made_by, is_busy=claim.is_busy)


async def _content_key(conn: Connection, providers: Providers, job: JobRecord) -> str | None:
    """Return the content key of a job; None: its model is not known, or a file of it is lost."""
    known = known_model(providers, job)
    files = await _hashes(conn, job)
    if known is None or files is None:
        return None
    _, model = known
    return purchase_key(job.user_id, job.provider, model, job.parameters.values, files)


async def _hashes(conn: Connection, job: JobRecord) -> Mapping[str, str] | None:
    """Return the sha256 of each input file; None: one of them is not stored."""
    made = await list_execution_assets(conn, job.execution_id) if job.parameters.steps else []
    of_steps = {(item.step, item.asset.output_number): item.asset.sha256 for item in made}
    hashes: dict[str, str] = {}
    for name, source in job.parameters.sources.items():
        if isinstance(source, StepOutput):
            sha256 = of_steps.get((source.step, source.output))
        else:
            asset = await find_asset(conn, job.user_id, source.asset)
            sha256 = asset.sha256 if asset is not None else None
        if sha256 is None:
            return None
        hashes[name] = sha256
    return hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Copies the files of earlier purchases."""

    database: Database
    files: RunFiles

    async def copy(self, order: ReuseOrder) -> SettleJobResult:
        """Complete a waiting job with copies of another job's files, at no cost.

        Repeating is safe. The job stays waiting if the files are gone. Raises
        StorageUnavailableError and StorageRefusedError; then another try may succeed.
        """
        ref = order.job
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            assets = await list_made_assets(conn, order.source)
        if job.state is JobState.WAITING and assets:
            copies = await self._copies(job, order.source, assets)
            if copies is not None:
                await self._complete(ref, order.source, copies)
        return await self._result(ref)

    async def _copies(
        self, job: JobRecord, source: JobId, assets: list[Asset]
    ) -> list[Asset] | None:
        """Return stored copies; None: a file cannot be read, so its job is no source any more."""
        try:
            return await self.files.copy(job, assets)
        except StorageUnavailableError:
            raise
        except StorageRefusedError:
            if not await self._is_gone(assets):
                raise
        except MediaError as error:  # a file that an earlier version accepted
            log.warning("job.reuse_failed", job_id=source, reason=type(error).__name__)
        async with self.database.as_user(job.user_id) as conn:
            await forget_purchase(conn, source)
        return None

    async def _is_gone(self, assets: list[Asset]) -> bool:
        """Return whether the storage works and lacks one of these files."""
        objects = self.files.files.objects
        await objects.check()
        for asset in assets:
            if await objects.head(asset.object_key) is None:
                log.warning("job.reuse_failed", job_id=asset.job_id, reason="file is missing")
                return True
        return False

    async def _complete(self, ref: JobRef, source: JobId, copies: list[Asset]) -> None:
        async with self.database.as_user(ref.user_id) as conn:
            saved = await complete_reused_job(conn, ref, source, copies)
        if saved is not None:
            log.info(
                "job.reused",
                execution_id=ref.execution_id,
                job_id=ref.job_id,
                source=source,
                saved_nano_usd=saved,
            )

    async def _result(self, ref: JobRef) -> SettleJobResult:
        async with self.database.as_user(ref.user_id) as conn:
            job = await get_job(conn, ref.job_id)
            money = await get_money(conn, ref.execution_id)
        return SettleJobResult(
            state=job.state,
            failure=job.failure,
            execution_spent_nano_usd=money.settled_nano_usd,
        )
