"""The disaster recovery drill: lose the database, restore an older backup, recover, compare.

`python -m deploy.local drill` runs it on a stack of its own, with the sandbox as the providers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from core.store.files.object_storage import ObjectStore
from core.store.recovery.restore_marker import read_marker
from deploy.local.demo.client import Execution, ProductClient, User
from deploy.local.drill.backup import back_up, restore
from deploy.local.product import run_tool, s3_access
from deploy.local.servers.process import LocalError
from deploy.local.sql import rows
from deploy.local.stack import Say, Stack

REQUEST = {"prompt": "A lighthouse in a storm", "duration": 2, "resolution": "480p"}
PATIENCE_SECONDS = 180.0
"""For one phase, also on a slow machine."""
POLL_SECONDS = 0.2
NANO = Decimal(1_000_000_000)
LATEST_SEND = "SELECT coalesce(max(serial), 0) AS serial FROM sends"
PAUSES_BEHIND = "SELECT scope FROM submit_pauses WHERE reason = 'database_behind'"


@dataclass(slots=True, kw_only=True)
class Drill:
    """One run. bought: provider jobs when the database was lost. seconds: of each phase."""

    stack: Stack
    client: ProductClient
    control: httpx.AsyncClient
    say: Say
    before: set[str] = field(default_factory=set[str])
    bought: int = 0
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    async def run(self, user: User) -> None:
        """Run every phase. Raises LocalError where the result is not what the guide promises."""
        self.before = {line["provider_job_id"] for line in await self._bill()}
        done = await self._phase("a video before the backup", self._completed_video())
        running = await self.client.generate_video(REQUEST)
        await self._until(lambda: self._has_paid(running), "nothing was paid in time")
        backup = self.stack.config.folder / "drill.dump"
        await self._phase("backup (pg_dump)", back_up(self.stack, backup))
        later = await self._phase("a video after the backup", self._completed_video())
        await self._until(lambda: self._has_ended(running), f"{running} does not end")
        await self._until(self._is_marked, "the restore marker was not written")
        bill = await self._bill()
        self.bought = len(bill)

        await self._phase("loss, and restore of the backup", restore(self.stack, backup))
        await self._phase("detection: submits are paused", self._until_detected())
        await self._phase("takeone-admin recover --yes", self._recover())
        for execution_id in (done, running, later):
            await self._phase(f"{execution_id} is complete", self._complete_again(execution_id))
        await self._compare((done, running, later))
        backup.unlink()

    async def _phase(self, name: str, work: Awaitable[Any]) -> Any:
        began = time.monotonic()
        result = await work
        self.seconds[name] = time.monotonic() - began
        self.say(f"  {self.seconds[name]:6.1f} s  {name}")
        return result

    async def _completed_video(self) -> str:
        execution_id = await self.client.generate_video(REQUEST)
        await self._until(lambda: self._has_ended(execution_id), f"{execution_id} does not end")
        return execution_id

    async def _execution(self, execution_id: str) -> Execution:
        return await self.client.execution(execution_id)

    async def _has_ended(self, execution_id: str) -> bool:
        return (await self._execution(execution_id)).has_ended

    async def _has_paid(self, execution_id: str) -> bool:
        jobs = (await self._execution(execution_id)).jobs
        return any(job.state in ("submitted", "completed") for job in jobs)

    async def _is_marked(self) -> bool:
        """Return whether the marker in object storage names the latest send."""
        (latest,) = await rows(self.stack, LATEST_SEND)
        access = s3_access(self.stack.config, self.stack.keys)
        async with ObjectStore.open(
            endpoint_url=access.endpoint_url,
            bucket=access.bucket,
            access_key_id=access.access_key_id,
            secret_access_key=access.secret_access_key,
            region="us-east-1",
            cdn_base_url=None,
        ) as objects:
            marker = await read_marker(objects)
        return marker is not None and marker.serial == latest["serial"]

    async def _until_detected(self) -> None:
        async def paused() -> bool:
            return bool(await rows(self.stack, PAUSES_BEHIND))

        await self._until(paused, "the restored database was not detected")

    async def _recover(self) -> None:
        await asyncio.to_thread(
            run_tool, self.stack.config, self.stack.environment, "cli", "recover", "--yes"
        )

    async def _complete_again(self, execution_id: str) -> None:
        await self._until(lambda: self._has_ended(execution_id), f"{execution_id} does not end")
        execution = await self._execution(execution_id)
        if execution.status != "completed":
            raise LocalError(f"{execution_id} is {execution.status} after the recovery")

    async def _compare(self, execution_ids: tuple[str, ...]) -> None:
        """Compare the ledger of the executions with the provider's bill."""
        bill = await self._bill()
        billed = sum((Decimal(line["billed_nano_usd"] or 0) for line in bill), Decimal(0)) / NANO
        executions = [await self._execution(each) for each in execution_ids]
        settled = sum((Decimal(each.cost.settled) for each in executions), Decimal(0))
        if len(bill) != self.bought:
            raise LocalError(f"{len(bill) - self.bought} jobs were bought again")
        if billed != settled:
            raise LocalError(f"the provider billed ${billed}, the ledger has ${settled}")
        self.say(f"  {len(bill)} jobs bought, none again; billed ${billed}, settled ${settled}")

    async def _bill(self) -> list[dict[str, Any]]:
        """Return the provider's lines since the drill began."""
        lines: list[dict[str, Any]] = (await self.control.get("/bill")).json()["lines"]
        return [line for line in lines if line["provider_job_id"] not in self.before]

    async def _until(self, holds: Callable[[], Awaitable[bool]], otherwise: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not await holds():
            if time.monotonic() > end:
                raise LocalError(otherwise)
            await asyncio.sleep(POLL_SECONDS)


async def drill(stack: Stack, say: Say) -> int:
    """Run the drill on a started stack and return exit code 0. Raises LocalError."""
    created = await asyncio.to_thread(
        run_tool, stack.config, stack.environment, "cli", "users", "create", "drill", "--json"
    )
    user = User.model_validate_json(created)
    say("Disaster recovery drill")
    async with (
        httpx.AsyncClient(
            base_url=stack.config.api_url,
            headers={"Authorization": f"Bearer {user.api_key}"},
            trust_env=False,
            timeout=10,
        ) as http,
        httpx.AsyncClient(
            base_url=stack.config.sandbox_control_url, trust_env=False, timeout=10
        ) as control,
    ):
        run = Drill(stack=stack, client=ProductClient(http), control=control, say=say)
        await run.run(user)
    return 0
