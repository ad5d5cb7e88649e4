"""The whole stack as processes, one user, one receiver; and the witnesses: the sandbox's bill and the database
at rest.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
from standardwebhooks.webhooks import Webhook

from contracts.money import nano_usd
from deploy.local.client import User
from deploy.local.product import run_tool
from deploy.local.stack import Stack
from tests.receiver import Receiver

PROMPT = "a red kite over a grey harbour"
JobRow = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class World:
    stack: Stack
    user: User
    api: httpx.AsyncClient
    control: httpx.AsyncClient
    receiver: Receiver
    owner_dsn: str
    ids: list[str] = field(default_factory=list[str])

    @classmethod
    @asynccontextmanager
    async def open(cls, stack: Stack) -> AsyncGenerator["World"]:
        made = await asyncio.to_thread(
            run_tool, stack.config, stack.environment, "store.admin", "users", "create", "e2e"
        )
        user = User.model_validate_json(made)
        async with (
            httpx.AsyncClient(
                base_url=stack.config.api_url,
                headers={"authorization": f"Bearer {user.api_key}"},
                timeout=20,
                trust_env=False,
            ) as api,
            httpx.AsyncClient(base_url=f"{stack.config.sandbox_url}/__control", timeout=10, trust_env=False) as control,
            Receiver.open() as receiver,
        ):
            yield cls(
                stack=stack,
                user=user,
                api=api,
                control=control,
                receiver=receiver,
                owner_dsn=stack.environment["DATABASE_OWNER_URL"],
            )

    async def generate(self, **body: Any) -> str:
        """Order a small video; the id of its execution."""
        request = {"prompt": PROMPT, "duration": 2, "resolution": "480p", "webhook": self.receiver.url, **body}
        answer = await self.api.post("/api/generate-video", json=request)
        assert answer.status_code == 202, answer.text
        execution_id: str = answer.json()["executionId"]
        self.ids.append(execution_id)
        return execution_id

    async def get(self, execution_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"/api/executions/{execution_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(self, execution_id: str, *, job: str, state: str, seconds: float = 20) -> dict[str, Any]:
        """Wait until a step's job is in a state."""
        async with asyncio.timeout(seconds):
            while True:
                seen = await self.get(execution_id)
                if any(item["step"] == job and item["state"] == state for item in seen["jobs"]):
                    return seen
                await asyncio.sleep(0.05)

    async def ended(self, execution_id: str, *, seconds: float = 40) -> dict[str, Any]:
        """Wait for the end state; an API that is being restarted meanwhile is asked again."""
        async with asyncio.timeout(seconds):
            while True:
                try:
                    seen = await self.get(execution_id)
                except (httpx.TransportError, AssertionError):
                    await asyncio.sleep(0.3)
                    continue
                if seen["status"] in ("completed", "failed", "cancelled"):
                    return seen
                await asyncio.sleep(0.1)

    async def webhook(self, execution_id: str, *, seconds: float = 20) -> dict[str, Any]:
        """Wait for the execution's webhook, verified with the official package."""
        async with asyncio.timeout(seconds):
            while True:
                for received in self.receiver.received:
                    body: dict[str, Any] = Webhook(self.user.webhook_secret).verify(received.body, received.headers)
                    if body["executionId"] == execution_id:
                        return body
                await asyncio.sleep(0.05)

    def webhooks_of(self, execution_id: str) -> list[bytes]:
        return [received.body for received in self.receiver.received if execution_id.encode() in received.body]

    async def fault(self, fault: str, **order: Any) -> str:
        answer = await self.control.post("/faults", json={"fault": fault, **order})
        assert answer.is_success, answer.text
        return answer.json()["id"]

    async def fired(self, fault_id: str) -> int:
        faults: list[dict[str, Any]] = (await self.control.get("/faults")).json()["faults"]
        return next(fault["fired"] for fault in faults if fault["id"] == fault_id)

    async def settings(self, **values: Any) -> None:
        answer = await self.control.put("/settings", json=values)
        assert answer.is_success, answer.text

    async def bill_of(self, execution_id: str) -> list[dict[str, Any]]:
        """The sandbox's own lines for an execution: found by the callback token, which names the job, else by the id
        we hold.
        """
        jobs = await self.rows("SELECT provider_job_id FROM jobs WHERE execution_id = $1", execution_id)
        known = {job["provider_job_id"] for job in jobs}
        lines: list[dict[str, Any]] = (await self.control.get("/bill")).json()["lines"]
        return [line for line in lines if line["provider_job_id"] in known]

    async def rows(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.owner_dsn)
        try:
            return [dict(row) for row in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()

    async def check_money(self, execution_id: str) -> int:
        """What every end must satisfy: the settled cost is the bill, nothing is held, the ledger adds up.

        Returns the cost.
        """
        seen = await self.get(execution_id)
        billed = sum(line["billed_nano_usd"] or 0 for line in await self.bill_of(execution_id))
        assert nano_usd(seen["cost"]["settled"]) == billed
        assert (seen["cost"]["held"], seen["cost"]["final"]) == ("0", True)
        (sums,) = await self.rows(
            """SELECT coalesce(sum(amount_nano_usd) FILTER (WHERE kind = 'held'), 0)
                    - coalesce(sum(amount_nano_usd) FILTER (WHERE kind IN ('settled', 'released')), 0) AS held,
                      coalesce(sum(amount_nano_usd) FILTER (WHERE kind IN ('settled', 'overage')), 0) AS settled
               FROM ledger_entries WHERE execution_id = $1""",
            execution_id,
        )
        assert (sums["held"], sums["settled"]) == (0, billed)
        return billed
