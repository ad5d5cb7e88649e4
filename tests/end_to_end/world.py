"""The whole stack as processes, one user, one receiver; and the witnesses: the sandbox's bill and
the database at rest.
"""

import asyncio
import base64
import os
import signal
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
from standardwebhooks.webhooks import Webhook
from temporalio.client import Client

from core.domain.money import nano_usd
from core.platform.crypto.sealing import Sealer
from core.store.accounts.users import UserLimits, insert_api_key, insert_user
from core.store.database import Database
from core.store.money.reports.ledger_check import list_findings
from deploy.local.demo.client import User
from deploy.local.stack import Stack
from tests.support.receiver import Receiver
from tests.support.sealed import PayloadKeys, like
from tests.support.stack_ports import receiver_port

PROMPT = "a red kite over a grey harbour"
ENDED = ("completed", "failed", "cancelled")
MODELS = {
    "fal": {
        "imageModel": "fal-ai/flux/schnell",
        "videoModel": "fal-ai/bytedance/seedance/v1/pro/image-to-video",
    },
    "replicate": {
        "imageModel": "black-forest-labs/flux-schnell",
        "videoModel": "bytedance/seedance-1-pro",
    },
}
"""Both steps at one provider."""


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
        user = await new_user(stack)
        async with (
            httpx.AsyncClient(
                base_url=stack.config.api_url,
                headers={"authorization": f"Bearer {user.api_key}"},
                timeout=20,
                trust_env=False,
            ) as api,
            httpx.AsyncClient(
                base_url=stack.config.sandbox_control_url, timeout=10, trust_env=False
            ) as control,
            Receiver.open(port=receiver_port(stack.config)) as receiver,
        ):
            world = cls(
                stack=stack,
                user=user,
                api=api,
                control=control,
                receiver=receiver,
                owner_dsn=stack.environment["DATABASE_OWNER_URL"],
            )
            await world.forget_providers()
            yield world
            await world.leave_nothing()

    async def forget_providers(self) -> None:
        """What the tests before have taught about them: breakers, pauses, fewer in flight."""
        await self.rows("DELETE FROM provider_states RETURNING provider")

    async def leave_nothing(self) -> None:
        """What a test that failed has left running must not buy anything in the next one's time."""
        sql = "SELECT execution_id FROM executions WHERE user_id = $1 AND status IN ('queued', 'running')"
        left = [row["execution_id"] for row in await self.rows(sql, self.user.user_id)]
        await asyncio.gather(
            *(self.cancel(execution_id) for execution_id in left), return_exceptions=True
        )

    async def generate(self, **body: Any) -> str:
        """Order a small video; the id of its execution."""
        request = {
            "prompt": PROMPT,
            "duration": 2,
            "resolution": "480p",
            "webhook": self.receiver.url,
            **body,
        }
        answer = await self.api.post("/api/generate-video", json=request)
        assert answer.status_code == 202, answer.text
        execution_id: str = answer.json()["executionId"]
        self.ids.append(execution_id)
        return execution_id

    async def get(self, execution_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"/api/executions/{execution_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(
        self, execution_id: str, *, job: str, state: str, seconds: float = 20
    ) -> dict[str, Any]:
        """Wait until a step's job is in a state."""
        async with asyncio.timeout(seconds):
            while True:
                seen = await self.get(execution_id)
                if any(item["step"] == job and item["state"] == state for item in seen["jobs"]):
                    return seen
                await asyncio.sleep(0.05)

    async def ended(self, execution_id: str, *, seconds: float = 40) -> dict[str, Any]:
        """Wait for the end state; an API that is being restarted meanwhile is asked again."""
        seen: dict[str, Any] = {}

        async def has_ended() -> bool:
            try:
                seen.update(await self.get(execution_id))
            except (httpx.TransportError, AssertionError):
                await asyncio.sleep(0.3)
                return False
            return seen["status"] in ENDED

        await self.until_true(
            has_ended, lambda: f"it does not end: {seen}", seconds=seconds, every=0.2
        )
        return seen

    async def webhook(self, execution_id: str, *, seconds: float = 20) -> dict[str, Any]:
        """Wait for the execution's webhook, verified with the official package."""
        async with asyncio.timeout(seconds):
            while True:
                for received in self.receiver.received:
                    if execution_id.encode() not in received.body:
                        continue  # perhaps of another user: receivers take turns at one port
                    body: dict[str, Any] = Webhook(self.user.webhook_secret).verify(
                        received.body, received.headers
                    )
                    if body["executionId"] == execution_id:
                        return body
                await asyncio.sleep(0.05)

    def webhooks_of(self, execution_id: str) -> list[bytes]:
        return [
            received.body
            for received in self.receiver.received
            if execution_id.encode() in received.body
        ]

    async def fault(self, fault: str, **order: Any) -> str:
        answer = await self.control.post("/faults", json={"fault": fault, **order})
        assert answer.is_success, answer.text
        return answer.json()["id"]

    async def fired(self, fault_id: str) -> int:
        faults: list[dict[str, Any]] = (await self.control.get("/faults")).json()["faults"]
        return next(fault["fired"] for fault in faults if fault["id"] == fault_id)

    async def caught(self, fault: str, **order: Any) -> str:
        """Order a small video whose next call of that kind meets a fault, and wait until it has:
        others may be ordered then without meeting it. `body` in the order: the request's; the rest:
        the fault's.
        """
        body = order.pop("body", {})
        ordered = await self.fault(fault, **order)
        execution_id = await self.generate(**body)
        await self.until_fired(ordered, times=order.get("times", 1))
        return execution_id

    async def until_fired(self, fault_id: str, *, times: int = 1, seconds: float = 20) -> None:
        async def fired() -> bool:
            return await self.fired(fault_id) >= times

        await self.until_true(fired, f"fault {fault_id} has not fired", seconds=seconds)

    async def until_true(
        self,
        condition: Callable[[], Awaitable[bool]],
        otherwise: str | Callable[[], str],
        *,
        seconds: float = 20,
        every: float = 0.05,
    ) -> None:
        """Wait for something that another process does."""
        end = asyncio.get_running_loop().time() + seconds
        while not await condition():
            late = asyncio.get_running_loop().time() > end
            assert not late, otherwise if isinstance(otherwise, str) else otherwise()
            await asyncio.sleep(every)

    async def cancel(self, execution_id: str) -> dict[str, Any]:
        """Cancel over the API; its answer."""
        answer = await self.api.post(f"/api/executions/{execution_id}/cancel")
        assert answer.status_code in (200, 202), answer.text
        body: dict[str, Any] = answer.json()
        assert (answer.status_code == 200) == (body["status"] in ENDED)
        return body

    async def until_cancel_is_committed(self, execution_id: str) -> None:
        async def committed() -> bool:
            sql = "SELECT 1 FROM executions WHERE execution_id = $1 AND cancel_requested_at IS NOT NULL"
            return bool(await self.rows(sql, execution_id))

        await self.until_true(committed, "the cancel was not committed")

    async def release_held(self, provider: str) -> None:
        """Release the calls that are held at a provider."""
        for fault in (await self.control.get("/faults")).json()["faults"]:
            if (fault["fault"], fault["provider"]) == ("hold", provider):
                answer = await self.control.post("/release", json={"id": fault["id"]})
                assert answer.is_success, answer.text

    @contextmanager
    def stopped(self, part: str) -> Generator[int]:
        """A process of the stack that stands still; its id."""
        pid = self.stack.pid_of(part)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield pid
        finally:
            os.kill(pid, signal.SIGCONT)

    async def calls(self, operation: str) -> list[dict[str, Any]]:
        """Every call of that kind that came to the sandbox."""
        calls: list[dict[str, Any]] = (await self.control.get("/calls")).json()["calls"]
        return [call for call in calls if call["operation"] == operation]

    async def creates_of(self, execution_id: str) -> list[dict[str, Any]]:
        """Every create call for an execution's jobs that came to the sandbox, oldest first."""
        jobs = {row["job_id"] for row in await self.job_rows(execution_id)}
        calls: list[dict[str, Any]] = (await self.control.get("/requests")).json()["requests"]
        return [call for call in calls if _job_of(call["token"]) in jobs]

    async def temporal(self) -> Client:
        """As the product's own: it reads what is encrypted."""
        keys = self.stack.environment["ENCRYPTION_KEYS"].split(",")
        client = await Client.connect(self.stack.environment["TEMPORAL_ADDRESS"])
        return like(client, PayloadKeys(keys=tuple(base64.b64decode(key) for key in keys)))

    async def job_rows(self, execution_id: str) -> list[dict[str, Any]]:
        return await self.rows(
            "SELECT job_id, step_name, state, provider_job_id FROM jobs WHERE execution_id = $1 ORDER BY job_id",
            execution_id,
        )

    async def settings(self, **values: Any) -> None:
        answer = await self.control.put("/settings", json=values)
        assert answer.is_success, answer.text

    async def bill(self) -> list[dict[str, Any]]:
        """All the sandbox has accepted since the test began."""
        return (await self.control.get("/bill")).json()["lines"]

    async def provider_jobs(self, execution_id: str) -> list[dict[str, Any]]:
        """The sandbox's own view of an execution's jobs, oldest first."""
        ours = {line["provider_job_id"] for line in await self.bill_of(execution_id)}
        jobs: list[dict[str, Any]] = (await self.control.get("/jobs")).json()["jobs"]
        return [job for job in jobs if job["id"] in ours]

    async def bill_of(self, execution_id: str) -> list[dict[str, Any]]:
        """The sandbox's own lines for an execution: found by the callback token, which names the
        job, else by the id we hold.
        """
        rows = await self.job_rows(execution_id)
        jobs, known = {row["job_id"] for row in rows}, {row["provider_job_id"] for row in rows}
        return [
            line
            for line in await self.bill()
            if line["provider_job_id"] in known or _job_of(line["token"]) in jobs
        ]

    async def rows(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        connection = await asyncpg.connect(self.owner_dsn)
        try:
            return [dict(row) for row in await connection.fetch(sql, *arguments)]
        finally:
            await connection.close()

    async def check_money(self, execution_id: str) -> int:
        """What every end must satisfy: the settled cost is the bill, nothing is held, the ledger
        adds up.

        Returns the cost.
        """
        seen = await self.get(execution_id)
        billed = sum(line["billed_nano_usd"] or 0 for line in await self.bill_of(execution_id))
        assert nano_usd(seen["cost"]["settled"]) == billed
        assert (seen["cost"]["held"], seen["cost"]["final"]) == ("0", True)
        (sums,) = await self.rows(
            """SELECT coalesce(sum(amount_nano_usd) FILTER (WHERE kind = 'held'), 0)
                    - coalesce(sum(amount_nano_usd) FILTER (WHERE kind IN ('settled', 'released')), 0) AS held,
                      coalesce(sum(amount_nano_usd)
                               FILTER (WHERE kind IN ('settled', 'overage', 'orphan', 'adjustment')), 0) AS settled
               FROM ledger_entries WHERE execution_id = $1""",
            execution_id,
        )
        assert (sums["held"], sums["settled"]) == (0, billed)
        await self.check_books()
        return billed

    async def check_books(self) -> None:
        """At any moment: sums, holds, counters and limits over all rows."""
        async with (
            Database.open(self.stack.environment["DATABASE_URL"], max_connections=1) as database,
            database.reading_all() as conn,
        ):
            assert await list_findings(conn) == []

    async def check_bought(self, expected: dict[str, int]) -> None:
        """Check how much each execution bought, and that nothing else was bought."""
        bought = {execution_id: len(await self.bill_of(execution_id)) for execution_id in expected}
        assert bought == expected
        assert len(await self.bill()) == sum(expected.values()), (
            "a job was bought that no row knows"
        )

    async def check_one_event(self, execution_id: str) -> dict[str, Any]:
        """One event, however often it was delivered. Returns it."""
        body = await self.webhook(execution_id)
        rows = await self.rows(
            "SELECT event_id FROM webhooks WHERE execution_id = $1", execution_id
        )
        assert [row["event_id"] for row in rows] == [body["id"]]
        assert len(set(self.webhooks_of(execution_id))) == 1
        return body

    async def check_budget(self) -> None:
        """At rest: nothing of the user is held, and the month's counter is the bill."""
        await self.check_books()
        (row,) = await self.rows(
            """SELECT sum(held_nano_usd) AS held, sum(settled_nano_usd) AS settled, sum(held_videos) AS videos
               FROM budgets WHERE user_id = $1""",
            self.user.user_id,
        )
        billed = sum(line["billed_nano_usd"] for line in await self.bill())
        assert (row["held"], row["settled"], row["videos"]) == (0, billed, 0)

    async def until_final(self, execution_id: str, *, seconds: float = 40) -> dict[str, Any]:
        """Wait for the end, and for its last bill."""
        seen = await self.ended(execution_id, seconds=seconds)

        async def final() -> bool:
            return (await self.get(execution_id))["cost"]["final"]

        await self.until_true(final, f"a bill stays open: {seen}", seconds=seconds, every=0.3)
        return await self.get(execution_id)


async def new_user(stack: Stack) -> User:
    """Create a user, in this process: a start of the command line takes seconds."""
    keys = [base64.b64decode(key) for key in stack.environment["ENCRYPTION_KEYS"].split(",")]
    limits = UserLimits(monthly_videos=None, monthly_nano_usd=None)
    async with (
        Database.open(stack.environment["DATABASE_URL"], max_connections=1) as database,
        database.as_system() as conn,
    ):
        user = await insert_user(conn, Sealer(keys), "e2e", limits)
        key = await insert_api_key(conn, user.user_id, "first")
    return User.model_validate(
        {
            "userId": user.user_id,
            "apiKey": key.key.text,
            "webhookSecret": user.webhook_secret,
        }
    )


def _job_of(token: str | None) -> str | None:
    """Return the job of a callback token, which is in its first sixteen bytes."""
    if token is None:
        return None
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    return f"job_{uuid.UUID(bytes=raw[:16]).hex}"
