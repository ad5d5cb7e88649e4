"""The API in process, on a real PostgreSQL and a real Temporal."""

import base64
import functools
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.datastructures import State
from temporalio.client import Client

from api.app import create_app
from api.services import Services, open_services
from core.domain.ids import KeyId, UserId
from core.platform.settings.processes import ApiProcess
from core.platform.temporal.client import ensure_search_attributes
from core.store.accounts.users import UserLimits, insert_api_key, insert_user
from core.store.database import Database
from tests.support.quick_clients import quick_clients as quick_clients
from tests.support.servers import FreshDatabase, PostgresServer, TemporalServer, new_database

ENCRYPTION_KEY = bytes(range(32))
BASE_URL = "http://api.test"
NOWHERE = "http://127.0.0.1:9"
NO_LIMITS = UserLimits(monthly_videos=None, monthly_nano_usd=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TestUser:
    """A user with a key, and an HTTP client that sends it."""

    __test__ = False
    user_id: UserId
    key_id: KeyId
    api_key: str
    http: httpx.AsyncClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A running API.

    http: sends no key. new_user: returns another user with a client of its own.
    """

    services: Services
    database: Database
    http: httpx.AsyncClient
    transport: httpx.ASGITransport

    async def new_user(self, limits: UserLimits = NO_LIMITS) -> TestUser:
        async with self.database.as_system() as conn:
            user = await insert_user(conn, self.services.secrets, "somebody", limits)
            key = await insert_api_key(conn, user.user_id, "test")
        return TestUser(
            user_id=user.user_id,
            key_id=key.key_id,
            api_key=key.key.text,
            http=httpx.AsyncClient(
                transport=self.transport,
                base_url=BASE_URL,
                headers={"Authorization": f"Bearer {key.key.text}"},
                timeout=30,
            ),
        )


def api_settings(database: FreshDatabase, temporal_address: str) -> ApiProcess:
    url = SecretStr(database.application_dsn)
    return _settings_of(temporal_address).model_copy(update={"database_url": url})


@functools.cache
def _settings_of(temporal_address: str) -> ApiProcess:
    """Return the settings apart from the database. Reading them takes longer than most requests."""
    return ApiProcess.model_validate(
        {
            "database_url": "postgresql://of-each-test/",
            "temporal_address": temporal_address,
            "temporal_namespace": "default",
            "s3_endpoint_url": "http://127.0.0.1:9",
            "s3_bucket": "takeone-test",
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
            "fal_key": "00000000-0000-0000-0000-000000000000:0123456789abcdef0123456789abcdef",
            "fal_queue_url": NOWHERE,
            "fal_api_url": NOWHERE,
            "fal_jwks_url": f"{NOWHERE}/jwks",
            "replicate_api_token": "r8_0123456789012345678901234567890123456",
            "replicate_base_url": NOWHERE,
            "replicate_webhook_secret": "whsec_" + base64.b64encode(bytes(24)).decode(),
            "encryption_keys": base64.b64encode(ENCRYPTION_KEY).decode(),
            "public_url": BASE_URL,
            "rate_limit_writes": 0,
            "rate_limit_reads": 0,
        }
    )


@asynccontextmanager
async def running_api(settings: ApiProcess) -> AsyncGenerator[Api]:
    async with open_services(settings) as services:
        with _app(services) as app:
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(
                transport=transport, base_url=BASE_URL, timeout=30
            ) as http:
                yield Api(
                    services=services, database=services.database, http=http, transport=transport
                )


_unused_apps: list[FastAPI] = []
"""Applications of tests that have ended.

FastAPI analyses each route at the first request to its router, which takes longer than most tests.
"""


@contextmanager
def _app(services: Services) -> Generator[FastAPI]:
    """Yield an application on these services alone.

    After an error it is not used again.
    """
    app = _unused_apps.pop() if _unused_apps else create_app(services)
    app.state = State({"services": services})
    yield app
    _unused_apps.append(app)


@pytest.fixture(scope="session")
async def temporal_address(temporal_server: TemporalServer) -> str:
    """Return a Temporal server with the product's search attributes."""
    await ensure_search_attributes(await Client.connect(temporal_server.address))
    return temporal_server.address


@pytest.fixture
async def api(fresh_database: FreshDatabase, temporal_address: str) -> AsyncGenerator[Api]:
    async with running_api(api_settings(fresh_database, temporal_address)) as api:
        yield api


@pytest.fixture
async def user(api: Api) -> AsyncGenerator[TestUser]:
    user = await api.new_user()
    async with user.http:
        yield user


@pytest.fixture(scope="module")
async def shared_api(
    postgres_server: PostgresServer, template_database: str, temporal_address: str
) -> AsyncGenerator[Api]:
    """Yield an API shared by a file: for requests that are refused, or whose rows do not matter."""
    async with (
        new_database(postgres_server, template_database) as database,
        running_api(api_settings(database, temporal_address)) as api,
    ):
        yield api


@pytest.fixture(scope="module")
async def api_once(shared_api: Api) -> AsyncGenerator[TestUser]:
    """Return a user of the shared API."""
    user = await shared_api.new_user()
    async with user.http:
        yield user
