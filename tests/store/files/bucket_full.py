"""`python -m tests.store.files.bucket_full FOLDER`: fill the disk of an S3 server.

FOLDER is on a small disk. A file that does not fit raises a retryable error and leaves no visible
object; it is stored after space was freed.
"""

import asyncio
import hashlib
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from core.domain.media.content import MediaKind, StorageUnavailableError
from core.store.files.object_storage import ObjectStore, StoredObject
from deploy.local.ports import free_ports
from deploy.local.servers.process import start_ready
from deploy.local.servers.s3 import PORTS, S3Access, s3
from tests.store.files.file_server import mp4_bytes
from tests.support.small_disk import Filler

FILE_BYTES = 20_000_000
SPACE_SECONDS = 150.0
"""The server checks its disk once a minute."""


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]


async def _put(store: ObjectStore, key: str, content: bytes) -> StoredObject:
    return await store.put_stream(
        key,
        _chunks(content),
        expected=MediaKind.VIDEO,
        max_bytes=FILE_BYTES,
        on_progress=lambda _: None,
    )


async def _until_full(store: ObjectStore, content: bytes) -> str:
    """Store files until the disk is full; return the key of the refused file."""
    for number in range(20):
        key = f"videos/{number}.mp4"
        try:
            await _put(store, key, content)
        except StorageUnavailableError:
            return key
    raise AssertionError("the disk is full, and everything was stored")


async def _until_stored(store: ObjectStore, key: str, content: bytes) -> StoredObject:
    async with asyncio.timeout(SPACE_SECONDS):
        while True:
            try:
                return await _put(store, key, content)
            except StorageUnavailableError:
                await asyncio.sleep(1)


async def _run(folder: Path, access: S3Access) -> None:
    content = mp4_bytes(FILE_BYTES)
    async with ObjectStore.open(
        endpoint_url=access.endpoint_url,
        bucket=access.bucket,
        access_key_id=access.access_key_id,
        secret_access_key=access.secret_access_key,
        region="us-east-1",
        cdn_base_url=None,
    ) as store:
        early = await _put(store, "videos/early.mp4", content)
        filler = Filler(folder)
        filler.fill()
        refused = await _until_full(store, content)
        assert await store.head(refused) is None
        assert await store.head("videos/early.mp4") == early
        filler.give_back()
        stored = await _until_stored(store, refused, content)
        assert (stored.size_bytes, stored.sha256) == (
            FILE_BYTES,
            hashlib.sha256(content).hexdigest(),
        )
        assert await store.head(refused) == stored


async def main(folder: Path) -> None:
    ports = free_ports(PORTS)
    access = S3Access(
        endpoint_url=f"http://127.0.0.1:{ports[0]}",
        bucket="takeone-test",
        access_key_id="TESTKEY",
        secret_access_key=secrets.token_hex(16),
    )
    running = await start_ready(s3(folder, ports, access, log=folder.parent / "s3.log"))
    try:
        await _run(folder, access)
    finally:
        await running.stop()
    sys.stdout.write("full, and then stored\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
