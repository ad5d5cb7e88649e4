"""A bucket on the real S3 server."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import aioboto3
import pytest
from aiobotocore.config import AioConfig

from core.store.files.object_storage import ObjectStore
from tests.store.files.bucket import (
    BUCKET,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from types_aiobotocore_s3 import S3Client

    from tests.support.servers import S3Server


@pytest.fixture(scope="session")
def s3_settings(s3_server: S3Server) -> dict[str, str]:
    """Return what ObjectStore.open takes, except the CDN's address."""
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
    """Open the tests' own client, which bypasses the store, and create the bucket."""
    async with aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
        "s3",
        endpoint_url=s3_settings["endpoint_url"],
        aws_access_key_id=s3_settings["access_key_id"],
        aws_secret_access_key=s3_settings["secret_access_key"],
        region_name="auto",
        config=AioConfig(s3={"addressing_style": "path"}, signature_version="s3v4"),
    ) as client:
        # Another folder that imports this fixture may have made it.
        with suppress(client.exceptions.BucketAlreadyOwnedByYou):
            await client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture(scope="session")
async def store(s3: S3Client, s3_settings: dict[str, str]) -> AsyncGenerator[ObjectStore]:
    async with ObjectStore.open(**s3_settings, cdn_base_url=None) as store:
        yield store


@pytest.fixture
def key() -> str:
    return f"tests/{secrets.token_hex(20)}.mp4"
