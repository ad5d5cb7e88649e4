"""Executions whose videos render, filled in by a script: a POST each would take too long.

One execution is ordered as a customer does. When its video renders, its rows are copied under new
ids, the sandbox gets a job for each copy, and the product's own start call starts the workflows.
The worker then claims each copy, finds that its job is submitted, and waits for it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg
import httpx
from pydantic import SecretStr

from core.domain.ids import ExecutionId
from core.domain.messages.executions import ExecutionOrder
from core.ordering.workflow_starts import start_execution
from core.platform.crypto.callback_tokens import PURPOSE, CallbackTokens
from core.platform.crypto.sealing import Sealer
from core.platform.settings.encryption import SecuritySettings
from core.platform.temporal.client import UNREACHABLE
from core.store.database import Database
from deploy.local.servers.process import PartFailedError
from tests.bench.copied_rows import RENDERS_SECONDS, ModelRows, Render, Rows
from tests.bench.servers import Servers, running_servers

MANY_JOBS: Final[Mapping[str, str]] = {
    f"{provider}_MAX_IN_FLIGHT": "100000" for provider in ("FAL", "REPLICATE")
} | {
    "RUNNING_EXECUTIONS_PER_USER": "100000",
    "OPEN_EXECUTIONS_PER_USER": "100000",
}
"""Settings of the product that admit any number of jobs."""
STORED_AT_ONCE: Final = "black-forest-labs/flux-schnell"
"""A model whose files its provider deletes within an hour."""
BATCH: Final = 200
STARTS_AT_ONCE: Final = 16
START_TRIES: Final = 20
START_PAUSE_SECONDS: Final = 1.0
SAMPLED: Final = 20
TABLES: Final = ("executions", "steps", "jobs", "sends", "charges", "ledger_entries", "assets")
"""Tables with rows of an execution, parents first."""
ANY_QUEUED: Final = "SELECT EXISTS (SELECT FROM executions WHERE execution_id = ANY($1::text[]) AND status = 'queued')"
ADD_OPEN: Final = (
    "UPDATE concurrency_counters SET open_executions = open_executions + $2 WHERE user_id = $1"
)
ADD_TO_BUDGET: Final = """
UPDATE budgets SET held_nano_usd = held_nano_usd + $2, settled_nano_usd = settled_nano_usd + $3,
                   held_videos = held_videos + $4
WHERE user_id = $1
"""
ADD_TO_KEY: Final = """
UPDATE key_spending SET held_nano_usd = held_nano_usd + $2, settled_nano_usd = settled_nano_usd + $3
WHERE user_id = $1
"""
ADD_TO_DAY: Final = """
UPDATE daily_spending SET held_nano_usd = held_nano_usd + $1, settled_nano_usd = settled_nano_usd + $2
WHERE day = (SELECT max(day) FROM daily_spending)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A filled-in execution. ends_at: when the provider ends its video, in Unix seconds."""

    execution_id: ExecutionId
    render: Render
    ends_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    servers: Servers
    http: httpx.AsyncClient
    owner: "asyncpg.Connection[asyncpg.Record]"
    database: Database
    tokens: CallbackTokens

    @classmethod
    @asynccontextmanager
    async def open(cls, servers: Servers) -> AsyncGenerator["Filler"]:
        settings = SecuritySettings(
            encryption_keys=SecretStr(servers.environment["ENCRYPTION_KEYS"])
        )
        sealer = Sealer(settings.encryption_key_bytes())
        owner = await asyncpg.connect(servers.owner_url)
        await owner.set_type_codec(
            "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )
        try:
            async with (
                Database.open(servers.application_url, max_connections=10) as database,
                httpx.AsyncClient(trust_env=False, timeout=120) as http,
            ):
                yield cls(
                    servers=servers,
                    http=http,
                    owner=owner,
                    database=database,
                    tokens=CallbackTokens(sealer.derive_key(PURPOSE)),
                )
        finally:
            await owner.close()

    async def fill(
        self, renders: Sequence[Render], *, webhook: str | None = None, note: Callable[[str], None]
    ) -> list[Filled]:
        """Fill in these executions and return once their workflows wait for the provider.

        webhook: the address that receives the events of all of them.
        """
        model = await self._model(webhook)
        filled: list[Filled] = []
        for first in range(0, len(renders), BATCH):
            filled += await self._fill_batch(model, renders[first : first + BATCH])
            if (first // BATCH) % 10 == 9:
                note(f"  {len(filled):,} of {len(renders):,} are started")
        await self._until_waiting(filled)
        return filled

    async def _model(self, webhook: str | None) -> ModelRows:
        """Order one execution and return its rows when its video renders."""
        await self.set_sandbox(video_seconds=RENDERS_SECONDS)
        # Its image is stored before its video ends, so that each copy has a stored image, too.
        order = {"prompt": "a paper boat", "imageModel": STORED_AT_ONCE}
        order |= {} if webhook is None else {"webhook": webhook}
        answer = await self.http.post(
            f"{self.servers.config.api_url}/api/generate-video",
            json=order,
            headers={"authorization": f"Bearer {self.servers.user.api_key}"},
        )
        execution_id = answer.raise_for_status().json()["executionId"]
        async with asyncio.timeout(120):
            while True:
                rows = await self._rows(execution_id)
                if rows["assets"] and any(job["state"] == "submitted" for job in rows["jobs"]):
                    return ModelRows.of(rows)
                await asyncio.sleep(0.5)

    async def _rows(self, execution_id: str) -> Rows:
        """Return the rows of an execution, each as JSON with all its columns."""
        rows: Rows = {}
        for table in TABLES:
            key = "execution_id = $1"
            if table == "sends":
                key = "job_id IN (SELECT job_id FROM jobs WHERE execution_id = $1)"
            rows[table] = [
                row["row"]
                for row in await self.owner.fetch(
                    f"SELECT to_jsonb(t) AS row FROM {table} AS t WHERE {key}",
                    execution_id,
                )
            ]
        return rows

    async def _fill_batch(self, model: ModelRows, renders: Sequence[Render]) -> list[Filled]:
        copies = [model.copy(render) for render in renders]
        for copy in copies:
            copy.sign(self.tokens)
        created = await self.http.post(
            f"{self.servers.config.sandbox_control_url}/jobs",
            json={
                "like": model.provider_job_id,
                "copies": [
                    {"callback_url": copy.callback_url, "seconds": copy.render.left_seconds}
                    for copy in copies
                ],
            },
        )
        began = datetime.now(UTC).timestamp()
        for copy, provider_job_id in zip(
            copies, created.raise_for_status().json()["ids"], strict=True
        ):
            copy.replace(model.provider_job_id, provider_job_id)
        await self._insert([copy.rows() for copy in copies], model)
        left = iter(copies)

        async def start() -> None:
            for copy in left:
                await self._start(copy.order())

        await asyncio.gather(*(start() for _ in range(STARTS_AT_ONCE)))
        return [
            Filled(
                execution_id=copy.order().execution_id,
                render=copy.render,
                ends_at=began + copy.render.left_seconds,
            )
            for copy in copies
        ]

    async def _start(self, order: ExecutionOrder) -> None:
        """Start a workflow, again while Temporal is too busy to answer in time."""
        for _ in range(START_TRIES):
            try:
                await start_execution(
                    self.servers.temporal, self.database, order, prompt="a paper boat"
                )
            except UNREACHABLE:
                await asyncio.sleep(START_PAUSE_SECONDS)
            else:
                return
        raise PartFailedError(f"Temporal did not start {order.execution_id}")

    async def _insert(self, copies: Sequence[Rows], model: ModelRows) -> None:
        async with self.owner.transaction():
            for table in TABLES:
                rows = [row for copy in copies for row in copy[table]]
                if table == "sends":
                    serials = await self.owner.fetch(
                        "SELECT nextval('send_serials') AS serial FROM generate_series(1, $1::int)",
                        len(rows),
                    )
                    for row, serial in zip(rows, serials, strict=True):
                        row["serial"] = serial["serial"]
                await self.owner.execute(
                    f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1)",
                    rows,
                )
            number = len(copies)
            held, settled = number * model.held_nano_usd, number * model.settled_nano_usd
            await self.owner.execute(ADD_OPEN, model.user_id, number)
            await self.owner.execute(ADD_TO_BUDGET, model.user_id, held, settled, number)
            await self.owner.execute(ADD_TO_KEY, model.user_id, held, settled)
            await self.owner.execute(ADD_TO_DAY, held, settled)

    async def _until_waiting(self, filled: Sequence[Filled]) -> None:
        """Wait until all are claimed and a sample of them waits for its provider."""
        ids = [one.execution_id for one in filled]
        sample = [*ids[:: max(1, len(ids) // SAMPLED)], ids[-1]]
        async with asyncio.timeout(120 + 0.5 * len(ids)):
            while await self.owner.fetchval(ANY_QUEUED, ids):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(2)
            for execution_id in sample:
                while not await self._waits(execution_id):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(1)

    async def _waits(self, execution_id: ExecutionId) -> bool:
        """Return whether the workflow waits for its provider, or has ended since."""
        described = await self.servers.temporal.get_workflow_handle(execution_id).describe()
        pending = described.raw_description.pending_activities
        return described.close_time is not None or any(
            one.activity_type.name == "wait_for_job" for one in pending
        )

    async def set_sandbox(self, **settings: Any) -> None:
        answer = await self.http.put(
            f"{self.servers.config.sandbox_control_url}/settings", json=settings
        )
        answer.raise_for_status()


@asynccontextmanager
async def running_filler() -> AsyncGenerator[Filler]:
    """Start the servers with settings for any number of jobs, and open their filler."""
    async with (
        running_servers(
            lambda _: None,
            image_seconds=0.5,
            video_seconds=0.5,
            environment=MANY_JOBS,
            bare=False,
        ) as servers,
        Filler.open(servers) as filler,
    ):
        yield filler
