from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aioboto3
import httpx
import pytest
from aiobotocore.config import AioConfig

from core.domain.media import (
    MediaKind,
    StorageRefusedError,
    StorageUnavailableError,
    TooLargeError,
    TruncatedError,
    WrongContentError,
)
from core.store.files.downloads import open_source
from core.store.files.object_storage import ObjectStore, StoredObject
from core.store.files.uploads import PART_BYTES
from tests.store.files.bucket import (
    BUCKET,
    assert_nothing_stored,
    chunks_of,
    download,
    list_uploads,
    put,
    wait_for_uploads,
)
from tests.store.files.file_server import BLOCK, MP4_HEAD, file_server, mp4_bytes
from tests.support.servers import S3Server

pytestmark = pytest.mark.guarantee("G2", "G7")

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import LifecycleRuleTypeDef

MIB = 1024 * 1024
GIB = 1024 * MIB
logger = logging.getLogger(__name__)


@pytest.fixture(scope="session")
def s3_settings(s3_server: S3Server) -> dict[str, str]:
    """What ObjectStore.open takes, except the CDN's address."""
    access = s3_server.access
    return {
        "endpoint_url": access.endpoint_url,
        "bucket": BUCKET,
        "access_key_id": access.access_key_id,
        "secret_access_key": access.secret_access_key,
        "region": "auto",
    }


@pytest.fixture(scope="session")
async def s3(s3_settings: dict[str, str]) -> AsyncGenerator[S3Client]:
    """A client of the tests' own, to look behind the store's back; makes the bucket."""
    async with aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
        "s3",
        endpoint_url=s3_settings["endpoint_url"],
        aws_access_key_id=s3_settings["access_key_id"],
        aws_secret_access_key=s3_settings["secret_access_key"],
        region_name="auto",
        config=AioConfig(s3={"addressing_style": "path"}, signature_version="s3v4"),
    ) as client:
        await client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture(scope="session")
async def store(s3: S3Client, s3_settings: dict[str, str]) -> AsyncGenerator[ObjectStore]:
    async with ObjectStore.open(**s3_settings, cdn_base_url=None) as store:
        yield store


@pytest.fixture
def key() -> str:
    return f"tests/{secrets.token_hex(20)}.mp4"


@pytest.mark.parametrize(
    "size",
    [len(MP4_HEAD), 1000, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 20 * MIB + 7],
)
async def test_put_stream_keeps_every_byte(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    stored = await put(store, key, chunks_of(content, 777_777))
    assert stored == StoredObject(
        key=key,
        size_bytes=size,
        sha256=hashlib.sha256(content).hexdigest(),
        content_type="video/mp4",
    )
    assert (await download(store, key)).content == content
    assert await store.head(key) == stored
    assert await list_uploads(s3, key) == []


async def test_put_stream_takes_chunks_larger_than_a_part(store: ObjectStore, key: str) -> None:
    content = mp4_bytes(3 * PART_BYTES + 5)
    await put(store, key, chunks_of(content, len(content)))
    assert (await download(store, key)).content == content


async def test_put_stream_sends_equal_parts(store: ObjectStore, s3: S3Client, key: str) -> None:
    """R2 insists on it. The last part may be shorter."""
    await put(store, key, chunks_of(mp4_bytes(2 * PART_BYTES + 5)))
    sizes = [
        (await s3.head_object(Bucket=BUCKET, Key=key, PartNumber=n))["ContentLength"]
        for n in (1, 2, 3)
    ]
    assert sizes == [PART_BYTES, PART_BYTES, 5]


@pytest.mark.parametrize("size", [1000, PART_BYTES + 1000])
async def test_stored_object_answers_ranges_with_safe_headers(
    store: ObjectStore, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    await put(store, key, chunks_of(content))
    middle = await download(store, key, Range=f"bytes={size - 900}-{size - 801}")
    assert middle.status_code == 206
    assert middle.content == content[size - 900 : size - 800]
    assert middle.headers["content-range"] == f"bytes {size - 900}-{size - 801}/{size}"
    assert middle.headers["content-type"] == "video/mp4"
    assert middle.headers["content-disposition"] == "inline"
    assert middle.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert (await download(store, key, Range="bytes=-10")).content == content[-10:]
    assert (await download(store, key, Range=f"bytes={size}-")).status_code == 416


@pytest.mark.parametrize("size", [100, PART_BYTES + 100])
async def test_put_stream_reports_progress_that_never_falls(
    store: ObjectStore, key: str, size: int
) -> None:
    beats: list[int] = []
    await put(store, key, chunks_of(mp4_bytes(size), 1 * MIB), on_progress=beats.append)
    assert beats == sorted(beats)
    assert beats[-1] == size
    assert len(beats) >= -(-size // MIB)


async def test_put_stream_decides_the_type_by_the_bytes(store: ObjectStore, key: str) -> None:
    """Also when the first chunks are shorter than any magic."""
    content = b"\x89PNG\r\n\x1a\n" + bytes(500)
    stored = await put(store, key, chunks_of(content, 1), expected=MediaKind.IMAGE)
    assert stored.content_type == "image/png"
    assert (await download(store, key)).headers["content-type"] == "image/png"


@pytest.mark.parametrize("size", [3, 200, PART_BYTES + 1])
async def test_put_stream_wrong_content_stores_nothing(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    taken = 0

    async def page() -> AsyncIterator[bytes]:
        nonlocal taken
        async for chunk in chunks_of((b"<!doctype html>" * (size // 15 + 1))[:size], 1000):
            taken += len(chunk)
            yield chunk

    with pytest.raises(WrongContentError, match="expected video"):
        await put(store, key, page())
    assert taken <= 1000  # seen at once, not after a whole part
    await assert_nothing_stored(store, s3, key)


async def test_put_stream_picture_for_a_video_is_wrong(
    store: ObjectStore, s3: S3Client, key: str
) -> None:
    with pytest.raises(WrongContentError, match="image/png"):
        await put(store, key, chunks_of(b"\x89PNG\r\n\x1a\n" + bytes(500)))
    await assert_nothing_stored(store, s3, key)


async def test_put_stream_of_nothing_is_truncated(
    store: ObjectStore, s3: S3Client, key: str
) -> None:
    with pytest.raises(TruncatedError, match="empty"):
        await put(store, key, chunks_of(b""))
    await assert_nothing_stored(store, s3, key)


@pytest.mark.parametrize("limit", [1000, PART_BYTES, 2 * PART_BYTES + 5])
async def test_put_stream_above_the_limit_stores_nothing(
    store: ObjectStore, s3: S3Client, key: str, limit: int
) -> None:
    with pytest.raises(TooLargeError):
        await put(store, key, chunks_of(mp4_bytes(limit + 1)), max_bytes=limit)
    await assert_nothing_stored(store, s3, key)
    assert (await put(store, key, chunks_of(mp4_bytes(limit)), max_bytes=limit)).size_bytes == limit


@pytest.mark.parametrize("size", [1000, 2 * PART_BYTES + 100])
async def test_put_stream_truncated_download_stores_nothing(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    async with file_server() as files, httpx.AsyncClient() as client:
        source = open_source(
            client, f"{files.url}/short/{size}", max_bytes=100 * MIB, total_seconds=10
        )
        with pytest.raises(TruncatedError):
            async with source as chunks:
                await put(store, key, chunks)
    await assert_nothing_stored(store, s3, key)


@pytest.mark.parametrize("at", [100, PART_BYTES, PART_BYTES + 100, 3 * PART_BYTES + 100])
async def test_put_stream_cancelled_leaves_nothing(
    store: ObjectStore, s3: S3Client, key: str, at: int
) -> None:
    """Cancelled while the source keeps us waiting, at different points of the upload."""
    waiting = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(mp4_bytes(at)):
            yield chunk
        if at > PART_BYTES:
            await wait_for_uploads(s3, key, 1)
        waiting.set()
        await asyncio.sleep(60)

    storing = asyncio.create_task(put(store, key, stalls()))
    await waiting.wait()
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    await assert_nothing_stored(store, s3, key)


@pytest.mark.parametrize("moment", ["before-call", "after-call"])
@pytest.mark.parametrize("call", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
async def test_put_stream_cancelled_during_a_call_is_whole_or_nothing(
    s3: S3Client, key: str, moment: str, call: str
) -> None:
    """The cancellation arrives while the S3 client works on that call."""
    reached = asyncio.Event()

    async def hold(**_: object) -> None:
        reached.set()
        await asyncio.sleep(0.1)

    event, handler = (
        f"{moment}.s3.{call}",
        cast("Callable[..., None]", hold),
    )  # its types know no async handlers
    s3.meta.events.register(event, handler)
    try:
        store = ObjectStore(s3, bucket=BUCKET, cdn_base_url=None)
        storing = asyncio.create_task(put(store, key, chunks_of(mp4_bytes(2 * PART_BYTES + 100))))
        await reached.wait()
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
    finally:
        s3.meta.events.unregister(event, handler)
    if call == "CompleteMultipartUpload":  # the storage may have completed it, or not
        found = await store.head(key)
        assert found is None or found.size_bytes == 2 * PART_BYTES + 100
        assert await list_uploads(s3, key) == []
        return
    assert await store.head(key) is None
    # The id of an upload whose creation was cut off is lost: the hourly abort removes it.
    if call != "CreateMultipartUpload":
        assert await list_uploads(s3, key) == []


async def test_put_stream_cancelled_twice_still_cleans_up(
    store: ObjectStore, s3: S3Client, key: str
) -> None:
    waiting = asyncio.Event()

    async def stalls() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(mp4_bytes(PART_BYTES + 100)):
            yield chunk
        await wait_for_uploads(s3, key, 1)
        waiting.set()
        await asyncio.sleep(60)

    storing = asyncio.create_task(put(store, key, stalls()))
    await waiting.wait()
    storing.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    storing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await storing
    await wait_for_uploads(s3, key, 0)
    assert await store.head(key) is None


@pytest.mark.parametrize("size", [1000, PART_BYTES + 100])
async def test_put_stream_repeated_stores_the_same_file(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    first = await put(store, key, chunks_of(content))
    assert await put(store, key, chunks_of(content)) == first
    assert (await download(store, key)).content == content
    assert await list_uploads(s3, key) == []


@pytest.mark.parametrize("size", [1000, PART_BYTES + 100])
async def test_put_stream_racing_for_one_key_is_one_object(
    store: ObjectStore, s3: S3Client, key: str, size: int
) -> None:
    content = mp4_bytes(size)
    stored = await asyncio.gather(*[put(store, key, chunks_of(content)) for _ in range(5)])
    assert len(set(stored)) == 1
    assert (await download(store, key)).content == content
    assert await list_uploads(s3, key) == []


async def test_abort_stale_uploads_takes_the_old_and_leaves_the_young(
    store: ObjectStore, s3: S3Client, key: str
) -> None:
    """A killed process leaves an upload with parts that is never completed."""
    await asyncio.sleep(1.1)
    await store.abort_stale_uploads(older_than_seconds=0)  # of the tests before
    for number in range(3):
        created = await s3.create_multipart_upload(Bucket=BUCKET, Key=f"{key}.{number}")
        await s3.upload_part(
            Bucket=BUCKET,
            Key=f"{key}.{number}",
            UploadId=created["UploadId"],
            PartNumber=1,
            Body=b"part",
        )
    assert await store.abort_stale_uploads(older_than_seconds=3600) == 0
    assert len(await list_uploads(s3, key)) == 3
    await asyncio.sleep(1.1)  # S3 gives whole seconds
    assert await store.abort_stale_uploads(older_than_seconds=0) == 3
    assert await list_uploads(s3, key) == []
    assert await store.abort_stale_uploads(older_than_seconds=0) == 0


async def test_abandoned_upload_rule_keeps_the_rules_of_the_bucket(
    store: ObjectStore, s3: S3Client
) -> None:
    own: LifecycleRuleTypeDef = {
        "ID": "the-customers-own",
        "Status": "Enabled",
        "Filter": {"Prefix": "old/"},
        "Expiration": {"Days": 30},
    }
    await s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": [own]}
    )
    try:
        for _ in range(2):
            assert await store.add_abandoned_upload_rule()
        rules = (await s3.get_bucket_lifecycle_configuration(Bucket=BUCKET))["Rules"]
        assert sorted(rule.get("ID", "") for rule in rules) == [
            "takeone-abandoned-uploads",
            "the-customers-own",
        ]
    finally:
        await s3.delete_bucket_lifecycle(Bucket=BUCKET)


async def test_address_is_signed_and_expires(store: ObjectStore, key: str) -> None:
    await put(store, key, chunks_of(mp4_bytes(1000)))
    address = await store.address(key, expires_seconds=4)
    forged = f"{address[:-1]}{'0' if address[-1] != '0' else '1'}"
    async with httpx.AsyncClient() as client:
        assert (await client.get(address)).content == mp4_bytes(1000)
        assert (await client.get(forged)).status_code == 403
        async with asyncio.timeout(15):
            while (await client.get(address)).status_code != 403:  # noqa: ASYNC110 - the clock decides
                await asyncio.sleep(0.5)
    for seconds in (0, 7 * 24 * 3600 + 1):
        with pytest.raises(ValueError, match="expires_seconds"):
            await store.address(key, expires_seconds=seconds)


@pytest.mark.parametrize("base", ["https://cdn.example/v", "https://cdn.example/v/"])
async def test_address_of_a_public_bucket_is_on_the_cdn(
    s3_settings: dict[str, str], base: str
) -> None:
    async with ObjectStore.open(**s3_settings, cdn_base_url=base) as public:
        assert await public.address("exec_1/a b.mp4") == "https://cdn.example/v/exec_1/a%20b.mp4"


async def test_delete_is_repeatable(store: ObjectStore, key: str) -> None:
    await put(store, key, chunks_of(mp4_bytes(1000)))
    await store.delete(key)
    await store.delete(key)
    assert await store.head(key) is None


@pytest.mark.parametrize(
    ("setting", "value", "error", "says"),
    [
        ("bucket", "no-such-bucket", StorageRefusedError, "S3_BUCKET"),
        ("secret_access_key", "wrong", StorageRefusedError, "AWS_SECRET_ACCESS_KEY"),
        ("access_key_id", "nobody", StorageRefusedError, "AWS_ACCESS_KEY_ID"),
        ("endpoint_url", "http://127.0.0.1:1", StorageUnavailableError, "S3_ENDPOINT_URL"),
    ],
)
async def test_check_says_what_to_mend(
    s3_settings: dict[str, str], setting: str, value: str, error: type[Exception], says: str
) -> None:
    async with ObjectStore.open(**{**s3_settings, setting: value}, cdn_base_url=None) as wrong:
        with pytest.raises(error, match=says):
            await wrong.check()


async def test_check_passes(store: ObjectStore) -> None:
    await store.check()


async def test_put_stream_storage_refusing_is_our_error(
    s3_settings: dict[str, str], key: str
) -> None:
    async with ObjectStore.open(
        **{**s3_settings, "secret_access_key": "wrong"}, cdn_base_url=None
    ) as wrong:
        for size in (1000, 2 * PART_BYTES):
            with pytest.raises(StorageRefusedError):
                await put(wrong, key, chunks_of(mp4_bytes(size)))


async def test_put_stream_limit_that_cannot_be_kept_is_refused(
    store: ObjectStore, key: str
) -> None:
    with pytest.raises(ValueError, match="10000 parts"):
        await put(store, key, chunks_of(MP4_HEAD), max_bytes=10_000 * PART_BYTES + 1)


async def test_one_gib_goes_through_in_bounded_memory(
    s3_settings: dict[str, str], store: ObjectStore, key: str
) -> None:
    """A process that stores 1 GiB needs less than 150 MiB more than the same process idle."""
    async with file_server() as files:
        probe = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.store.files.memory_probe",
            f"{files.url}/large/{GIB}", key, json.dumps(s3_settings),
            cwd=Path(__file__).parents[3],
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await probe.communicate()
    assert probe.returncode == 0
    report = json.loads(output)
    logger.info("memory probe: %s", report)
    expected = hashlib.sha256(MP4_HEAD)
    for _ in range(GIB // MIB - 1):
        expected.update(BLOCK)
    expected.update(BLOCK[: MIB - len(MP4_HEAD)])
    assert report["size_bytes"] == GIB
    assert report["sha256"] == expected.hexdigest()
    assert report["beats"] > GIB // PART_BYTES
    assert 2 * MIB < report["more_bytes"] < 150 * MIB, report
    tail = await download(store, key, Range="bytes=-1000")
    assert tail.content == BLOCK[: MIB - len(MP4_HEAD)][-1000:]
    await store.delete(key)
