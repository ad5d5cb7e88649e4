"""Object storage: addresses, health, deletion and abandoned uploads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from core.domain.media.content import (
    StorageRefusedError,
    StorageUnavailableError,
)
from core.domain.media.file_names import content_disposition
from core.store.files.object_storage import ObjectStore
from tests.store.files.bucket import (
    BUCKET,
    chunks_of,
    list_uploads,
    put,
)
from tests.store.files.file_server import mp4_bytes

pytestmark = pytest.mark.guarantee("G2", "G7")

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import LifecycleRuleTypeDef


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


@pytest.mark.parametrize("cdn_base_url", [None, "https://cdn.example/v"])
async def test_download_is_served_as_an_attachment_with_its_name(
    store: ObjectStore, s3_settings: dict[str, str], key: str, cdn_base_url: str | None
) -> None:
    """Also with a CDN, whose addresses cannot ask for it."""
    await put(store, key, chunks_of(mp4_bytes(1000)))
    disposition = content_disposition('Größe "映画" 100%.mp4')
    async with (
        ObjectStore.open(**s3_settings, cdn_base_url=cdn_base_url) as objects,
        httpx.AsyncClient() as client,
    ):
        address = await objects.address(key, disposition=disposition)
        answer = await client.get(address)
        forged = await client.get(address.replace("attachment", "inline"))
    assert answer.content == mp4_bytes(1000)
    assert answer.headers["content-disposition"] == disposition
    assert answer.headers["content-type"] == "video/mp4"
    assert forged.status_code == 403


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
    ("setting", "value", "error", "setting_name"),
    [
        ("bucket", "no-such-bucket", StorageRefusedError, "S3_BUCKET"),
        ("secret_access_key", "wrong", StorageRefusedError, "AWS_SECRET_ACCESS_KEY"),
        ("access_key_id", "nobody", StorageRefusedError, "AWS_ACCESS_KEY_ID"),
        ("endpoint_url", "http://127.0.0.1:1", StorageUnavailableError, "S3_ENDPOINT_URL"),
    ],
)
async def test_check_names_the_wrong_setting(
    s3_settings: dict[str, str], setting: str, value: str, error: type[Exception], setting_name: str
) -> None:
    async with ObjectStore.open(**{**s3_settings, setting: value}, cdn_base_url=None) as wrong:
        with pytest.raises(error, match=setting_name):
            await wrong.check()


async def test_check_passes(store: ObjectStore) -> None:
    await store.check()
