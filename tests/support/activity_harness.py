"""The activities of one worker on real servers: PostgreSQL, object storage and the sandbox.

Temporal alone is a fake: it records what the activities start.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
from temporalio.testing import ActivityEnvironment

from activities.assets import AssetActivities
from activities.executions import ExecutionActivities
from activities.jobs import JobActivities
from core.domain.messages.jobs import JobRef, SubmitJobResult, SubmitOutcome
from core.domain.messages.webhooks import DeliveryOrder
from core.jobs.key_ring import KeyRing
from core.jobs.waiting.poller import JobPoller
from core.jobs.waiting.wakeups import Wakeups
from core.maintenance.open_bills import OpenBillSettler
from core.platform.crypto.callback_tokens import CallbackTokens
from core.platform.egress.client import Outbound
from core.platform.settings.providers import ProviderSettings
from core.providers.registry import Providers, reads_per_minute
from core.store.database import Database
from core.store.files.job_files import JobFiles
from core.store.files.object_storage import ObjectStore
from core.store.jobs.jobs import JobRecord, get_job
from core.webhooks.asset_links import AssetLinks
from sandbox.settings import DEFAULT_WEBHOOK_SECRET
from tests.sandbox.process import FLUX, Sandbox
from tests.support.fake_temporal import FakeTemporal
from tests.support.outbound import LOCAL
from tests.support.rows import (
    SEALER,
    Accepted,
    accept,
    assert_books_balance,
    new_execution,
    new_user,
)
from tests.support.servers import FreshDatabase, S3Server

Message = TypeVar("Message")
Result = TypeVar("Result")
TOKENS = CallbackTokens([b"t" * 32])
REPLICATE_FLUX = "black-forest-labs/flux-schnell"
__all__ = ["FLUX", "REPLICATE_FLUX", "TOKENS", "ActivityHarness", "open_harness"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityHarness:
    database: Database
    owner_dsn: str
    sandbox: Sandbox
    providers: Providers
    objects: ObjectStore
    jobs: JobActivities
    assets: AssetActivities
    executions: ExecutionActivities
    open_bills: OpenBillSettler
    wakeups: Wakeups
    temporal: FakeTemporal
    poller: JobPoller

    async def run(
        self,
        activity: Callable[[Message], Awaitable[Result]],
        message: Message,
        *,
        seconds: float = 20,
        environment: ActivityEnvironment | None = None,
    ) -> Result:
        """Run an activity as a worker does, with a time limit.

        A send that could not connect in time, because this machine was too busy, is repeated like
        a workflow would.
        """
        environment = environment or ActivityEnvironment()
        async with asyncio.timeout(seconds):
            result = await environment.run(activity, message)
        if isinstance(message, JobRef) and await self._connect_timed_out(result, message):
            return await self.run(activity, message, seconds=seconds, environment=environment)
        return result

    async def _connect_timed_out(self, result: object, ref: JobRef) -> bool:
        if not isinstance(result, SubmitJobResult) or result.outcome is not SubmitOutcome.NOT_SENT:
            return False
        async with self.database.as_user(ref.user_id) as conn:
            note = await conn.fetchval(
                "SELECT note FROM sends WHERE job_id = $1 ORDER BY number DESC LIMIT 1", ref.job_id
            )
        return note == "ConnectTimeout"

    async def accepted(self, **more: Any) -> Accepted:
        """Accept and claim an execution whose image step uses Replicate: its look-ups are fast."""
        settings: dict[str, Any] = {
            "image_model": REPLICATE_FLUX,
            "image_provider": "replicate",
            **more,
        }
        return await accept(self.database, new_execution(await new_user(self.database), **settings))

    async def job(self, ref: JobRef) -> JobRecord:
        async with self.database.as_user(ref.user_id) as conn:
            return await get_job(conn, ref.job_id)

    async def charge(self, ref: JobRef) -> tuple[str, int]:
        """Return the state and settled amount of a job's charge; check that the ledger balances."""
        async with self.database.as_user(ref.user_id) as conn:
            row = await conn.fetchrow(
                "SELECT state, settled_nano_usd FROM charges WHERE job_id = $1", ref.job_id
            )
            await assert_books_balance(conn, ref.user_id)
        assert row is not None
        return row["state"], row["settled_nano_usd"]

    async def as_owner(self, statement: str, *arguments: Any) -> None:
        """Execute a statement as the owner, for example to make rows older."""
        connection = await asyncpg.connect(self.owner_dsn)
        try:
            await connection.execute(statement, *arguments)
        finally:
            await connection.close()

    @property
    def deliveries(self) -> list[DeliveryOrder]:
        """The deliveries that the activities started."""
        return self.temporal.deliveries

    def bill(self) -> list[dict[str, Any]]:
        return self.sandbox.bill()["lines"]


def open_objects(s3: S3Server) -> AbstractAsyncContextManager[ObjectStore]:
    return ObjectStore.open(
        endpoint_url=s3.access.endpoint_url,
        bucket=s3.access.bucket,
        access_key_id=s3.access.access_key_id,
        secret_access_key=s3.access.secret_access_key,
        region="us-east-1",
        cdn_base_url=s3.public_url,
    )


def provider_settings(url: str, **more: Any) -> ProviderSettings:
    return ProviderSettings.model_validate(
        {
            "fal_key": "id:secret",
            "fal_queue_url": f"{url}/fal/queue",
            "fal_api_url": f"{url}/fal/api/v1",
            "fal_jwks_url": f"{url}/fal/.well-known/jwks.json",
            "fal_start_deadline_seconds": 1,
            "fal_image_start_deadline_seconds": 1,
            "fal_horizon_seconds": 6,
            "fal_image_horizon_seconds": 6,
            "replicate_api_token": "r8_token",
            "replicate_base_url": f"{url}/replicate",
            "replicate_webhook_secret": DEFAULT_WEBHOOK_SECRET,
            "replicate_horizon_seconds": 6,
            "elevenlabs_api_key": "sk_0123456789abcdef",
            "elevenlabs_base_url": f"{url}/elevenlabs",
            "elevenlabs_horizon_seconds": 6,
            "lookup_confirm_seconds": 0.001,
            **more,
        }
    )


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def polling(poller: JobPoller) -> AsyncGenerator[None]:
    task = asyncio.create_task(poller.run())
    try:
        yield
    finally:
        await _stop(task)


@asynccontextmanager
async def open_harness(
    fresh: FreshDatabase, sandbox: Sandbox, s3: S3Server, *, polling: bool = True, **settings: Any
) -> AsyncGenerator[ActivityHarness]:
    """Open the activities. polling: run their poller as well. settings: of the providers."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database.open(fresh.application_dsn, max_connections=10)
        )
        offered = Providers.open(provider_settings(sandbox.url, **settings))
        providers = await stack.enter_async_context(offered)
        objects = await stack.enter_async_context(open_objects(s3))
        downloads = await stack.enter_async_context(Outbound(LOCAL).client())
        keys, wakeups = KeyRing(database=database, box=SEALER), Wakeups()
        await stack.enter_async_context(wakeups.listening(database))
        temporal = FakeTemporal()
        poller = JobPoller(
            client=temporal.client(),
            database=database,
            providers=providers,
            keys=keys,
            wakeups=wakeups,
            reads_per_minute=reads_per_minute(providers.known_names),
        )
        if polling:
            running = asyncio.create_task(poller.run())
            stack.push_async_callback(_stop, running)
        yield ActivityHarness(
            database=database,
            owner_dsn=fresh.owner_dsn,
            sandbox=sandbox,
            providers=providers,
            objects=objects,
            wakeups=wakeups,
            temporal=temporal,
            poller=poller,
            jobs=JobActivities(
                database=database,
                providers=providers,
                objects=objects,
                tokens=TOKENS,
                callback_urls={},
                wakeups=wakeups,
                keys=keys,
                files=JobFiles(objects=objects, key_secret=b"k" * 32),
            ),
            assets=AssetActivities(
                database=database,
                providers=providers,
                keys=keys,
                objects=objects,
                downloads=downloads,
                key_secret=b"k" * 32,
            ),
            executions=ExecutionActivities(
                database=database,
                links=AssetLinks(public_base_url="http://api.test", cdn_base_url=s3.public_url),
                client=temporal.client(),
            ),
            open_bills=OpenBillSettler(database=database, providers=providers, keys=keys),
        )
