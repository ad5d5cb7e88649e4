"""Deletion of data that is no longer needed: keys, files and stale uploads."""

import asyncio
from dataclasses import dataclass
from typing import Final

from core.domain.media.content import StorageRefusedError, StorageUnavailableError
from core.platform.observability.logging import get_logger
from core.platform.temporal import policies
from core.store.database import Database
from core.store.executions.idempotency import delete_expired
from core.store.executions.unkeyed_orders import delete_expired_orders
from core.store.files.deletions import list_queued_files, take_queued_file
from core.store.files.object_storage import ObjectStore
from core.store.providers.user_keys import erase_unused
from core.store.webhooks.endpoints import delete_endpoint
from core.store.webhooks.listening import list_unused

log = get_logger(__name__)

KEYS_PAGE: Final = 1000
FILES_PAGE: Final = 100
DELETE_SECONDS: Final = 5.0
"""Of one file, within a transaction: the server ends one that pauses for 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleanup:
    """Deletes expired data. Every method is safe to repeat."""

    database: Database
    objects: ObjectStore

    async def delete_idempotency_keys(self) -> None:
        """Delete idempotency keys that have expired, and orders without one, page by page."""
        for delete in (delete_expired, delete_expired_orders):
            deleted = KEYS_PAGE
            while deleted == KEYS_PAGE:
                async with self.database.as_system() as conn:
                    deleted = await delete(conn, limit=KEYS_PAGE)

    async def delete_unused_listening(self) -> None:
        """Delete listening endpoints that have had no listener for an hour."""
        async with self.database.as_system() as conn:
            unused = await list_unused(conn, limit=KEYS_PAGE)
        for user_id, endpoint_id in unused:
            async with self.database.as_user(user_id) as conn:
                await delete_endpoint(conn, endpoint_id)
            log.info("endpoint.listener_gone", user_id=user_id, endpoint_id=endpoint_id)

    async def erase_provider_keys(self) -> None:
        """Erase replaced or deleted provider keys once all jobs sent with them are closed."""
        async with self.database.as_system() as conn:
            erased = await erase_unused(conn)
        for provider_key_id in erased:
            log.info("provider_key.erased", provider_key_id=provider_key_id)

    async def delete_files(self) -> None:
        """Delete queued files from object storage, each with its place in the queue.

        A crash in between deletes a file that does not exist any more, which is safe.
        """
        removed = FILES_PAGE
        while removed == FILES_PAGE:
            async with self.database.as_system() as conn:
                keys = await list_queued_files(conn, limit=FILES_PAGE)
            try:
                removed = sum([await self._delete_file(key) for key in keys])
            except (StorageUnavailableError, StorageRefusedError, TimeoutError) as error:
                log.warning("files.delete_failed", reason=str(error) or "time-out")
                return
            if removed:
                log.info("files.deleted", number=removed)

    async def _delete_file(self, key: str) -> bool:
        """Delete a file while its place is locked: a run may be about to store it again."""
        async with self.database.as_system() as conn:
            in_use = await take_queued_file(conn, key)
            if in_use is False:
                async with asyncio.timeout(DELETE_SECONDS):
                    await self.objects.delete(key)
        return in_use is not None

    async def abort_stale_uploads(self) -> None:
        """Abort multipart uploads of killed processes, whose parts are billed but not listed.

        The bucket's lifecycle rule does the same within days, if the storage supports rules.
        """
        try:
            await self.objects.add_abandoned_upload_rule()
            aborted = await self.objects.abort_stale_uploads(
                older_than_seconds=int(policies.STALE_UPLOAD.total_seconds())
            )
        except (StorageUnavailableError, StorageRefusedError) as error:
            log.warning("uploads.abort_failed", reason=str(error))
        else:
            log.info("uploads.aborted", number=aborted)
