"""The demo: one request to the running product, sent as an API client would."""

import asyncio
import time
from decimal import Decimal
from typing import Any

import httpx
from rich.console import Console

from deploy.local.demo.client import Execution, ProductClient, User
from deploy.local.demo.film import NARRATION, order_film
from deploy.local.demo.prices import StepPrice
from deploy.local.demo.screen import cost_table, make_console, progress_of, show_next_steps
from deploy.local.demo.video_check import check_video
from deploy.local.demo.webhook_receiver import Inbox, receiving
from deploy.local.product import run_tool
from deploy.local.servers.process import LocalError
from deploy.local.stack import Stack

PROMPT = "A paper boat sails down a rainy street at dusk, cinematic, slow camera"
DURATION_SECONDS = 5
RESOLUTION = "720p"
POLL_SECONDS = 0.3
WEBHOOK_SECONDS = 60.0
# Longer than any model takes. The sandbox needs seconds, even if a process is killed meanwhile.
LIVE_RUN_SECONDS = 3600.0
SANDBOX_RUN_SECONDS = 300.0
# Above the sandbox's price of one video, which is not real money.
SANDBOX_BUDGET_USD = Decimal(5)


async def demo(stack: Stack, prices: list[StepPrice], *, pipeline: bool = False) -> int:
    """Make one video, print its result and cost, and return exit code 0.

    prices: the real providers' highest prices, which become the user's budget and so the most that
    the demo can cost. Empty for the sandbox.
    pipeline: make a film of several steps instead.
    Raise LocalError if a result is wrong or missing.
    """
    console = make_console()
    budget = sum((price.usd for price in prices), Decimal(0)) or SANDBOX_BUDGET_USD
    user = await asyncio.to_thread(_create_user, stack, budget)
    console.print(f"\nPrompt: {PROMPT}", soft_wrap=True)
    console.print(f"User:   {user.user_id}, monthly budget ${budget}", soft_wrap=True)
    async with httpx.AsyncClient(
        base_url=stack.config.api_url,
        headers={"Authorization": f"Bearer {user.api_key}"},
        trust_env=False,
        timeout=10,
    ) as http:
        with receiving(user.webhook_secret, stack.config.ports.demo_webhook) as inbox:
            client = ProductClient(http)
            order = _order_film if pipeline else _order_video
            execution_id = await order(client, console, inbox)
            execution = await _completed(stack, client, console, execution_id)
            await _show_result(stack, console, execution, inbox)
            link = await client.console_link()
    show_next_steps(console, stack.config, user.api_key, link)
    return 0


def print_prices(prices: list[StepPrice]) -> None:
    """Print the highest price that the real providers may charge."""
    for price in prices:
        print(f"  {price.step:<6} {price.provider}  {price.model}  at most ${price.usd}")
    print(
        f"  total  at most ${sum(price.usd for price in prices)}, paid from your own provider accounts"
    )


def _create_user(stack: Stack, budget: Decimal) -> User:
    limits = ["--monthly-videos", "10", "--monthly-usd", str(budget), "--json"]
    created = run_tool(stack.config, stack.environment, "cli", "users", "create", "demo", *limits)
    return User.model_validate_json(created)


async def _order_video(client: ProductClient, console: Console, inbox: Inbox) -> str:
    execution_id = await client.generate_video(
        {
            "prompt": PROMPT,
            "duration": DURATION_SECONDS,
            "resolution": RESOLUTION,
            "webhook": inbox.url,
        }
    )
    console.print(f"POST /api/generate-video: 202 {execution_id}\n", soft_wrap=True)
    return execution_id


async def _order_film(client: ProductClient, console: Console, inbox: Inbox) -> str:
    console.print(f"Voice:  {NARRATION}", soft_wrap=True)
    music, execution_id = await order_film(client, prompt=PROMPT, webhook=inbox.url)
    console.print(f"POST /api/assets: {music} (music made by the demo)", soft_wrap=True)
    console.print(f"POST /api/executions: 202 {execution_id}\n", soft_wrap=True)
    return execution_id


async def _completed(
    stack: Stack, client: ProductClient, console: Console, execution_id: str
) -> Execution:
    """Show the progress until the end. Raise LocalError unless the execution completes in time."""
    run_seconds = LIVE_RUN_SECONDS if stack.config.live else SANDBOX_RUN_SECONDS
    deadline = time.monotonic() + run_seconds
    with progress_of(console) as update:
        while True:
            execution = await client.execution(execution_id)
            update(execution)
            if execution.has_ended:
                break
            if time.monotonic() > deadline:
                raise LocalError(
                    f"{execution_id} has not ended after {run_seconds:.0f} s. "
                    f"It continues at the next start. Logs: {stack.config.logs}"
                )
            await asyncio.sleep(POLL_SECONDS)
    if execution.status != "completed":
        reason = (
            "no reason given"
            if execution.error is None
            else f"{execution.error.message} ({execution.error.code})"
        )
        raise LocalError(
            f"{execution_id} {execution.status}: {reason}; spent ${execution.cost.settled}"
        )
    return execution


async def _show_result(stack: Stack, console: Console, execution: Execution, inbox: Inbox) -> None:
    result: dict[str, Any] = execution.result or {}
    url = result.get("videoUrl")
    if not isinstance(url, str):
        raise LocalError(f"{execution.id} is completed but has no video address")
    video = await asyncio.to_thread(check_video, url)
    try:
        event = await asyncio.wait_for(inbox.event_of(execution.id), WEBHOOK_SECONDS)
    except TimeoutError:
        refused = f"; rejected: {', '.join(inbox.refused)}" if inbox.refused else ""
        raise LocalError(f"No webhook arrived within {WEBHOOK_SECONDS:.0f} s{refused}") from None
    console.print(cost_table(execution))
    workflow_url = f"{stack.config.temporal_ui_url}/namespaces/default/workflows/{execution.id}"
    for name, text in (
        ("Video", url),
        ("", f"plays: {video}"),
        *((name.capitalize(), file["url"]) for name, file in result.get("outputs", {}).items()),
        ("Webhook", f"{event.get('type')}: both signatures verified"),
        ("Workflow", workflow_url),
    ):
        console.print(f"{name:<9} {text}", soft_wrap=True)
