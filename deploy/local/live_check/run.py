"""The live check: buy the cheapest things at each provider once, and compare bill and ledger."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
from pydantic import SecretStr

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import ProviderHandle
from core.domain.money import usd_text
from core.platform.settings.providers import ProviderSettings
from core.providers.port import ProviderUnavailableError
from core.providers.registry import OWN_KEY_PROVIDERS, Providers
from deploy.local.demo.client import User
from deploy.local.live_check.choose import Purchase, choose
from deploy.local.live_check.recordings import Recorder, RecordingHttp, recording, write
from deploy.local.product import run_tool
from deploy.local.servers.process import LocalError
from deploy.local.sql import rows
from deploy.local.stack import Say, Stack

RUN_SECONDS = 3600.0
"""Longer than any model takes."""
POLL_SECONDS = 0.5
LIST_JOBS = """
SELECT j.job_id, j.provider, j.model, j.state, j.provider_job_id, j.provider_urls, c.state AS charge_state, c.basis,
       c.held_nano_usd, c.settled_nano_usd
FROM jobs AS j JOIN charges AS c USING (job_id) WHERE j.execution_id = ANY($1::text[]) ORDER BY j.job_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """max_usd: the most that may be spent. confirm: whether the operator agrees to an amount."""

    max_usd: Decimal
    confirm: Callable[[Decimal], bool]


async def live_check(stack: Stack, limits: Limits, say: Say) -> int:
    """Run the check on a started stack and return its exit code: 0, or 1 if it was declined.

    Raises LocalError if the price exceeds the limit, a job fails, or bill and ledger differ.
    """
    created = await asyncio.to_thread(
        run_tool, stack.config, stack.environment,
        *("cli", "users", "create", "live-check", "--monthly-usd", str(limits.max_usd), "--json"),
    )  # fmt: skip
    user = User.model_validate_json(created)
    settings = provider_settings(stack.environment)
    async with httpx.AsyncClient(
        base_url=stack.config.api_url,
        headers={"Authorization": f"Bearer {user.api_key}"},
        trust_env=False,
        timeout=30,
    ) as http:
        async with Providers.open(settings) as providers:
            # Servers of the operator's own models have no account and no bill.
            names = [name for name in providers.names if name in OWN_KEY_PROVIDERS]
        purchases = await choose(http, names)
        total = _show_prices(purchases, say)
        if total > limits.max_usd:
            raise LocalError(
                f"The highest price is ${total}, above the limit of ${limits.max_usd}: nothing was "
                "bought. Raise MAX_USD, or set fewer keys"
            )
        if not limits.confirm(total):
            say("Nothing was bought")
            return 1
        ids = [await _order(http, purchase) for purchase in purchases]
        for execution_id in ids:
            await _completed(http, execution_id)
    jobs = await rows(stack, LIST_JOBS, ids)
    _show_costs(jobs, say)
    await _compare(stack, jobs, say)
    await asyncio.to_thread(run_tool, stack.config, stack.environment, "cli", "ledger", "check")
    await _record(stack, settings, jobs, say)
    return 0


def provider_settings(environment: dict[str, str]) -> ProviderSettings:
    """Return the providers' settings of a stack, without those of this process."""
    names = ProviderSettings.model_fields
    values = {name: environment[name.upper()] for name in names if environment.get(name.upper())}
    return ProviderSettings.model_validate(values)


def _show_prices(purchases: list[Purchase], say: Say) -> Decimal:
    for purchase in purchases:
        say(f"  {purchase.provider:<11} {' + '.join(purchase.models)}  at most ${purchase.usd}")
    total = sum((purchase.usd for purchase in purchases), Decimal(0))
    say(f"  {'total':<11} at most ${total}, paid from your own provider accounts")
    return total


def ask(total: Decimal) -> bool:
    """Ask on the terminal. Raises LocalError without one: the check spends money."""
    if not sys.stdin.isatty():
        raise LocalError("The live check spends money and asks first: run it in a terminal")
    return input(f"Spend at most ${total}? [y/N] ").strip().lower() in ("y", "yes")


async def _order(http: httpx.AsyncClient, purchase: Purchase) -> str:
    # Once: an order whose answer is lost must not be bought a second time.
    answer = await http.post(purchase.path, json=purchase.body)
    if answer.status_code != httpx.codes.ACCEPTED.value:
        raise LocalError(f"{purchase.provider}: {answer.status_code} {answer.text[:300]}")
    execution_id: str = answer.json()["executionId"]
    return execution_id


async def _completed(http: httpx.AsyncClient, execution_id: str) -> None:
    """Wait for the end and for the last bill. Raises LocalError unless it completes."""
    end = time.monotonic() + RUN_SECONDS
    while True:
        seen: dict[str, Any] = (await http.get(f"/api/executions/{execution_id}")).json()
        if seen.get("status") in ("failed", "cancelled"):
            raise LocalError(f"{execution_id} {seen['status']}: {seen['error']}")
        if seen.get("status") == "completed" and seen["cost"]["final"]:
            return
        if time.monotonic() > end:
            raise LocalError(f"{execution_id} has not ended: {seen.get('status')}")
        await asyncio.sleep(POLL_SECONDS)


def _show_costs(jobs: list[dict[str, Any]], say: Say) -> None:
    for job in jobs:
        held, settled = usd_text(job["held_nano_usd"]), usd_text(job["settled_nano_usd"])
        say(
            f"  {job['provider']:<11} {job['model']}  {job['provider_job_id']}"
            f"  held ${held}, settled ${settled} ({job['basis']})"
        )


async def _compare(stack: Stack, jobs: list[dict[str, Any]], say: Say) -> None:
    """Compare with the sandbox's bill. A real bill comes later, as a file."""
    if stack.config.live is not None:
        say("Compare with the invoices: takeone-admin ledger import-bill FILE --provider NAME")
        return
    async with httpx.AsyncClient(trust_env=False, timeout=10) as control:
        bill = await control.get(f"{stack.config.sandbox_control_url}/bill")
    lines: list[dict[str, Any]] = bill.json()["lines"]
    billed = {line["provider_job_id"]: line["billed_nano_usd"] for line in lines}
    for job in jobs:
        if billed.get(job["provider_job_id"]) != job["settled_nano_usd"]:
            raise LocalError(f"{job['job_id']}: the bill and the ledger differ")
    say(f"  {len(jobs)} jobs: the bill equals the ledger")


async def _record(
    stack: Stack, settings: ProviderSettings, jobs: list[dict[str, Any]], say: Say
) -> None:
    """Read each finished job once more, at no cost, and write what the provider shows."""
    secrets = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    played_by = "the sandbox" if stack.config.live is None else "the provider"
    for job in jobs:
        recorder = Recorder()
        handle = ProviderHandle(
            provider=job["provider"],
            model=job["model"],
            provider_job_id=ProviderJobId(job["provider_job_id"]),
            urls=json.loads(job["provider_urls"]),
        )
        try:
            async with Providers.open(settings, transport=RecordingHttp(recorder)) as providers:
                report = await providers.provider(handle.provider).status(handle)
        except ProviderUnavailableError as error:
            say(f"  not recorded: {handle.provider} {handle.model}: {error}")
            continue
        if recorder.reads_list:
            say(f"  not recorded: {handle.provider} shows a job in a list of the account only")
            continue
        recorded = recording(
            recorder.exchanges,
            report,
            handle,
            settings,
            secrets=secrets,
            source=f"recorded by make live-check from {played_by}",
        )
        file = write(stack.config.folder / "recordings", recorded)
        say(f"  recorded {file}")
