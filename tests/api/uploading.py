"""The API with object storage, for tests of uploads; its Temporal is never called."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from pydantic import SecretStr

from tests.api.conftest import NOWHERE, Api, TestUser, api_settings, running_api
from tests.store.files.bucket import BUCKET
from tests.support.servers import FreshDatabase, S3Server

MIB = 1024**2


@asynccontextmanager
async def uploading_api(
    database: FreshDatabase, s3_server: S3Server, **settings: object
) -> AsyncGenerator[Api]:
    """Run the API on the tests' bucket. settings: further ones, by their fields."""
    access = s3_server.access
    storage = {
        "s3_endpoint_url": access.endpoint_url,
        "s3_bucket": BUCKET,
        "aws_access_key_id": access.access_key_id,
        "aws_secret_access_key": SecretStr(access.secret_access_key),
        "aws_region": "auto",
    }
    base = api_settings(database, NOWHERE.removeprefix("http://"))
    async with running_api(base.model_copy(update={**storage, **settings})) as api:
        yield api


async def upload(user: TestUser, content: bytes, name: str = "file") -> httpx.Response:
    return await user.http.post("/api/assets", files={name: ("a.bin", content)})


async def content_of(user: TestUser, asset_id: str) -> bytes:
    """Return the stored content, as a client downloads it."""
    answer = await user.http.get(f"/api/assets/{asset_id}/content")
    assert answer.status_code == 302, answer.text
    async with httpx.AsyncClient() as client:
        file = await client.get(answer.headers["location"])
    assert file.status_code == 200
    return file.content
