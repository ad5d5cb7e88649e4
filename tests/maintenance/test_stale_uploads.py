"""The reconciler aborts multipart uploads whose process was killed."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aioboto3
import pytest
from aiobotocore.config import AioConfig

from core.platform.temporal import policies
from tests.maintenance.reconciling import find_task, make_reconciler, run_all_tasks
from tests.support.activity_harness import ActivityHarness
from tests.support.fake_temporal import FakeTemporal
from tests.support.servers import S3Server


@asynccontextmanager
async def bucket_client(s3: S3Server) -> AsyncGenerator[Any]:
    async with aioboto3.Session().client(  # pyright: ignore[reportUnknownMemberType] - other services have no stubs
        "s3",
        endpoint_url=s3.access.endpoint_url,
        aws_access_key_id=s3.access.access_key_id,
        aws_secret_access_key=s3.access.secret_access_key,
        region_name="us-east-1",
        config=AioConfig(s3={"addressing_style": "path"}, signature_version="s3v4"),
    ) as client:
        yield client


async def test_reconciler_aborts_stale_uploads_once_an_hour(
    harness: ActivityHarness, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with bucket_client(s3_server) as client:
        where = {"Bucket": s3_server.access.bucket, "Key": f"stale/{os.urandom(4).hex()}"}

        async def uploads() -> int:
            listed = await client.list_multipart_uploads(
                Bucket=where["Bucket"], Prefix=where["Key"]
            )
            return len(listed.get("Uploads", []))

        await client.create_multipart_upload(**where)
        await run_all_tasks(harness, FakeTemporal())
        assert await uploads() == 1, "a young one may be alive"
        monkeypatch.setattr(policies, "STALE_UPLOAD", timedelta(0))
        await asyncio.sleep(1.1)  # S3 gives whole seconds
        await run_all_tasks(harness, FakeTemporal())
        assert await uploads() == 0
        task = find_task(make_reconciler(harness, FakeTemporal()), "abort_uploads")
        assert task.every_seconds == 3600
