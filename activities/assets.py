"""Activities of assets: copy the files of a completed job into object storage, once."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import httpx
from temporalio import activity

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId
from core.domain.media.containers.index import LateIndex
from core.domain.media.content import (
    IncompleteError,
    MediaError,
    SourceGoneError,
    SourceMissingError,
    SourceRefusedError,
    StorageRefusedError,
    StorageUnavailableError,
    TooLargeError,
    UnknownContentError,
    UnwantedError,
    WrongContentError,
)
from core.domain.messages.assets import StoreAssetResult
from core.domain.messages.jobs import JobRef, Output, ReuseOrder, SettleJobResult
from core.jobs.key_ring import KeyRing
from core.jobs.provider_reads import ProviderReads
from core.jobs.rendering.files import RunFiles
from core.jobs.reuse import Reuse
from core.platform.observability.logging import get_logger
from core.platform.temporal.failures import retry_later
from core.platform.temporal.heartbeats import heartbeats
from core.platform.temporal.policies import TRANSFER_SECONDS, UNUSABLE_FILE_RETRIED
from core.providers.port import ProviderUnavailableError
from core.providers.registry import Providers
from core.store.database import Database
from core.store.files.assets import Asset, insert_asset, list_job_assets
from core.store.files.downloads import open_source
from core.store.files.faststart import store_with_index_first
from core.store.files.job_files import MAX_BYTES, JobFiles
from core.store.files.object_storage import ObjectStore, StoredObject
from core.store.jobs.jobs import JobRecord, list_jobs
from core.store.jobs.reports import clear_inline_files

log = get_logger(__name__)

UNUSABLE = (SourceGoneError, UnknownContentError, IncompleteError)
"""A URL does not serve the file; the provider's present URL of it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetActivities:
    """The clients of the asset activities.

    key_secret: derives object keys that are unguessable and the same in every try.
    """

    database: Database
    providers: Providers
    keys: KeyRing
    objects: ObjectStore
    downloads: httpx.AsyncClient
    key_secret: bytes

    @property
    def files(self) -> JobFiles:
        return JobFiles(objects=self.objects, key_secret=self.key_secret)

    @activity.defn(name="reuse_assets")
    async def reuse(self, order: ReuseOrder) -> SettleJobResult:
        """Complete a waiting job with copies of the files of an earlier purchase.

        Repeating is safe: the copies have keys of their own, and a job that has ended stays. The
        job is still waiting afterwards if the files are gone.
        """
        reuse = Reuse(
            database=self.database, files=RunFiles(database=self.database, files=self.files)
        )
        try:
            async with heartbeats():
                return await reuse.copy(order)
        except (StorageUnavailableError, StorageRefusedError) as error:
            failure = Failure.of(FailureCode.STORAGE_UNAVAILABLE, str(error))
            raise retry_later(failure) from error

    @activity.defn(name="store_assets")
    async def store(self, ref: JobRef) -> StoreAssetResult:
        """Store every file of a completed job, and those of `more_jobs` in parallel.

        Repeating is safe: object keys are derived from the job, and the first stored file stays.
        Only the job itself decides whether this fails or is tried again. Further jobs that need
        another try are not in the result, so that they delay no other file.
        """
        job_ids = (ref.job_id, *ref.more_jobs)
        async with heartbeats():
            async with self.database.as_user(ref.user_id) as conn:
                jobs = await list_jobs(conn, job_ids)
                assets = await list_job_assets(conn, *job_ids)
            outcome, *others = await asyncio.gather(
                *(self._store_job(jobs.get(job_id), assets) for job_id in job_ids),
                return_exceptions=True,
            )
        result = _result(ref.job_id, outcome)
        ended = [
            job_id
            for job_id, other in zip(ref.more_jobs, others, strict=True)
            if _is_final(job_id, other)
        ]
        return replace(result, more_jobs=tuple(ended))

    async def _store_job(self, job: JobRecord | None, assets: Sequence[Asset]) -> Asset | None:
        """Store the files of one job that are not among these, and return the first of all.

        Raises LookupError if the job does not exist.
        """
        if job is None:
            raise LookupError("the job does not exist, or belongs to another user")
        stored = {asset.output_number: asset for asset in assets if asset.job_id == job.job_id}
        outputs = job.report.outputs if job.report is not None else ()
        for number, output in enumerate(outputs):
            if number not in stored:
                stored[number] = await self._store_output(job, number, output)
        if job.report is not None and any(output.url and output.is_inline for output in outputs):
            async with self.database.as_user(job.user_id) as conn:
                await clear_inline_files(conn, job.job_id, job.report)
        return stored.get(0)

    async def _store_output(self, job: JobRecord, number: int, output: Output) -> Asset:
        try:
            asset = await self._transfer(job, number, output)
        except UNUSABLE as error:
            asset = await self._fetch_again(job, number, output, error)
        async with self.database.as_user(job.user_id) as conn:
            inserted = await insert_asset(conn, asset)
            rows = [asset] if inserted else await list_job_assets(conn, job.job_id)
        # Another try may have recorded it first.
        kept = next((row for row in rows if row.output_number == number), None)
        if kept is None:
            raise UnwantedError("the execution was deleted")
        await self._delete_unused(job, number, asset, kept)
        log.info(
            "asset.stored", job_id=job.job_id, asset_id=kept.asset_id, size_bytes=kept.size_bytes
        )
        return kept

    async def _transfer(self, job: JobRecord, number: int, output: Output) -> Asset:
        """Stream one file from the provider to object storage, in bounded memory."""
        started_at = asyncio.get_running_loop().time()
        async with open_source(
            self.downloads,
            output.url,
            max_bytes=MAX_BYTES,
            total_seconds=TRANSFER_SECONDS,
            headers=await self._file_headers(job, output),
        ) as chunks:
            asset, late_index = await self.files.put(job, number, output.kind, chunks)
        return await self._with_index_first(
            job, asset, late_index, deadline=started_at + TRANSFER_SECONDS
        )

    async def _file_headers(self, job: JobRecord, output: Output) -> Mapping[str, str]:
        """Return the headers of a download, with the provider's key if it needs it."""
        if not output.needs_key:
            return {}
        provider = await self.keys.of_job(self.providers, job)
        if provider is None:
            raise retry_later(Failure.of(FailureCode.PROVIDER_UNAVAILABLE))
        return provider.file_headers(output.url)

    async def _with_index_first(
        self, job: JobRecord, asset: Asset, index: LateIndex | None, *, deadline: float
    ) -> Asset:
        """Return a film whose index comes first: a copy, if this one has its index at the end.

        The film is paid for and stored, so every failure to copy it leaves it as it is.
        """
        if index is None:
            return asset
        film = StoredObject(
            key=asset.object_key,
            size_bytes=asset.size_bytes,
            sha256=asset.sha256,
            content_type=asset.content_type,
        )
        key = self.files.object_key(
            job.job_id, asset.output_number, asset.kind, asset.content_type, faststart=True
        )
        try:
            async with asyncio.timeout_at(deadline):
                stored, facts = await store_with_index_first(
                    self.objects, film, index, key=key, kind=asset.kind
                )
        except Exception as error:  # noqa: BLE001 - no failure may lose the film
            log.warning("asset.faststart_failed", job_id=job.job_id, reason=type(error).__name__)
            return asset
        return replace(
            asset,
            object_key=key,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
            media=facts,
        )

    async def _delete_unused(self, job: JobRecord, number: int, made: Asset, kept: Asset) -> None:
        """Delete what was stored and is not the file that the row names. Repeating is safe."""
        original = self.files.object_key(job.job_id, number, made.kind, made.content_type)
        for key in {original, made.object_key} - {kept.object_key}:
            try:
                await self.objects.delete(key)
            except MediaError as error:
                log.warning("asset.delete_failed", job_id=job.job_id, reason=type(error).__name__)

    async def _fetch_again(
        self, job: JobRecord, number: int, output: Output, first_error: MediaError
    ) -> Asset:
        """Fetch a file that its URL does not serve, by the job's id at its provider.

        If the provider does not serve it either, look in object storage: it may have been stored
        before the database was restored from an older backup.
        """
        try:
            return await self._transfer(job, number, await self._fresh_output(job, number))
        except UNUSABLE as error:
            asset = await self._find_stored(job, number, output)
            if asset is not None:
                return asset
            if not first_error.retryable_for_minutes:
                raise first_error from error
            raise

    async def _find_stored(self, job: JobRecord, number: int, output: Output) -> Asset | None:
        started_at = asyncio.get_running_loop().time()
        stored = await self.files.find(job, number, output.kind)
        if stored is None:
            return None
        return await self._with_index_first(job, *stored, deadline=started_at + TRANSFER_SECONDS)

    async def _fresh_output(self, job: JobRecord, number: int) -> Output:
        """Read the job again at its provider: a URL may expire earlier than its file."""
        if job.handle is None:
            raise SourceMissingError("the job has no id at its provider")
        provider = await self.keys.of_job(self.providers, job)
        if provider is None:
            raise retry_later(Failure.of(FailureCode.PROVIDER_UNAVAILABLE))
        try:
            await ProviderReads.of(self.database, self.providers).admit(job.scope)
            report = await provider.status(job.handle)
        except ProviderUnavailableError as error:
            if error.not_found:
                raise SourceMissingError("the provider does not return the job") from error
            raise retry_later(
                Failure.of(FailureCode.PROVIDER_UNAVAILABLE),
                after_seconds=error.retry_after_seconds,
            ) from error
        if not report.state.ended:  # the job had ended before: the provider's status is stale
            raise retry_later(Failure.of(FailureCode.PROVIDER_UNAVAILABLE))
        if report.failure is not None and report.failure.code is FailureCode.OUTPUT_EXPIRED:
            raise SourceGoneError("the provider has deleted the file")
        if number >= len(report.outputs):
            raise SourceMissingError("the provider does not list the file")
        return report.outputs[number]


def _result(job_id: JobId, outcome: Asset | BaseException | None) -> StoreAssetResult:
    """Return what became of a job's files, or raise what Temporal tries again."""
    if isinstance(outcome, MediaError):
        if _stays_retryable(outcome):
            raise retry_later(
                Failure.of(FailureCode.STORAGE_UNAVAILABLE, str(outcome))
            ) from outcome
        if outcome.retryable_for_minutes and _may_appear():
            raise retry_later(
                Failure.of(FailureCode.PROVIDER_UNAVAILABLE, str(outcome))
            ) from outcome
        log.warning("asset.store_failed", job_id=job_id, reason=type(outcome).__name__)
        return StoreAssetResult(asset_id=None, failure=Failure.of(_code(outcome)))
    if isinstance(outcome, BaseException):
        raise outcome
    return StoreAssetResult(
        asset_id=outcome.asset_id if outcome else None,
        size_bytes=outcome.size_bytes if outcome else 0,
    )


def _is_final(job_id: JobId, outcome: Asset | BaseException | None) -> bool:
    """Return whether another try would change nothing for these files."""
    if not isinstance(outcome, BaseException):
        return True
    final = isinstance(outcome, MediaError) and not (
        _stays_retryable(outcome) or outcome.retryable_for_minutes
    )
    reason = type(outcome).__name__
    if final:
        log.warning("asset.store_failed", job_id=job_id, reason=reason)
    else:
        log.info("asset.store_postponed", job_id=job_id, reason=reason)
    return final


def _stays_retryable(error: MediaError) -> bool:
    """Return whether to try again without a limit of minutes.

    That includes a refusal by our storage: the file is paid for, and an operator can repair it.
    """
    return error.retryable or isinstance(error, StorageRefusedError)


def _may_appear() -> bool:
    """Return whether to fetch a file again that is missing, incomplete or no media file.

    The heartbeat details carry the time of the first such try to the next tries. Both times are
    those of the Temporal server, so clock differences between workers have no effect.
    """
    info = activity.info()
    tried_at = info.current_attempt_scheduled_time
    first_at = tried_at
    if info.heartbeat_details:
        first_at = datetime.fromisoformat(str(info.heartbeat_details[0]))
    activity.heartbeat(first_at.isoformat())
    return tried_at - first_at < UNUSABLE_FILE_RETRIED


def _code(error: MediaError) -> FailureCode:
    if isinstance(error, SourceGoneError):
        return FailureCode.OUTPUT_EXPIRED
    if isinstance(error, SourceRefusedError):
        return FailureCode.OUTPUT_ADDRESS_REFUSED
    if isinstance(error, TooLargeError):
        return FailureCode.OUTPUT_TOO_LARGE
    if isinstance(error, WrongContentError | IncompleteError):
        return FailureCode.OUTPUT_INVALID
    return FailureCode.STORAGE_UNAVAILABLE
