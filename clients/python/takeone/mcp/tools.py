"""The tools: each one is a call of the Python client."""

from decimal import Decimal
from typing import Annotated, Any, Final

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult
from pydantic import Field

from takeone._async.client import AsyncTakeone
from takeone._calls.bodies import VideoOrder
from takeone.errors import TakeoneError, WaitTimeoutError
from takeone.mcp import results, texts
from takeone.mcp.access import Access, current_key
from takeone.mcp.problems import readable
from takeone.models.executions import AcceptedData

LONGEST_WAIT_SECONDS: Final = 45
ORDER_SECONDS: Final = 50.0
"""MCP clients end a tool call after 60 s."""
WAIT_SLACK_SECONDS: Final = 5.0
VIA: Final = {"via": "mcp"}

AnyContext = Context[Any, Any]
ExecutionId = Annotated[str, Field(pattern=r"^exec_[0-9a-f]{32}$", description="exec_…")]
Prompt = Annotated[str, Field(min_length=1, description="What the video shows.")]
Seconds = Annotated[int, Field(ge=1, description="Length of the video in seconds.")]
ImageUrl = Annotated[str, Field(description="An image to animate: a public http(s) address.")]
MaxCost = Annotated[
    Decimal,
    Field(
        ge=0,
        le=100_000,
        decimal_places=9,
        description="The most that may be spent, in US dollars. Agree on it with the user.",
    ),
]
RequestId = Annotated[
    str,
    Field(
        pattern=r"^[!-~]{8,100}$",
        description="Your own new name for this order, 8 to 100 characters without spaces. The "
        "same call with the same name buys once; another order needs another name.",
    ),
]
Wait = Annotated[int, Field(ge=1, le=LONGEST_WAIT_SECONDS, description="How long to wait.")]
Limit = Annotated[int, Field(ge=1, le=20)]
Month = Annotated[
    str, Field(pattern=r"^20\d\d-(0[1-9]|1[0-2])$", description="For example 2026-11")
]


class ReadTools:
    """Tools that change nothing."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def list_models(
        self, context: AnyContext, kind: str = "video"
    ) -> Annotated[CallToolResult, results.Models]:
        """Return the models of a kind with their limits and prices. kind: usually `video`."""
        with readable():
            offered = await self._access.client(context).models.list()
        choices = [results.choice_of(model) for model in offered if model.kind == kind]
        if not choices:
            kinds = ", ".join(sorted({model.kind for model in offered}))
            raise ToolError(f"There is no model of the kind {kind!r}. Kinds: {kinds}.")
        names = ", ".join(choice.id for choice in choices)
        return results.answer(
            f"{len(choices)} {kind} models: {names}.", results.Models(models=choices)
        )

    async def quote_video(
        self,
        context: AnyContext,
        prompt: Prompt,
        duration: Seconds | None = None,
        resolution: str | None = None,
        aspect_ratio: str | None = None,
        image_url: ImageUrl | None = None,
        image_model: str | None = None,
        video_model: str | None = None,
    ) -> Annotated[CallToolResult, results.Quoted]:
        """Return what generate_video would cost. Nothing is bought or held."""
        fields = _video(
            prompt, duration, resolution, aspect_ratio, image_url, image_model, video_model
        )
        with readable():
            quote = results.quoted(await self._access.client(context).quotes.video(**fields))
        return results.answer(
            f"The video costs {quote.expected} USD as expected, {quote.worst} USD at most.", quote
        )

    async def get_execution(
        self, context: AnyContext, execution_id: ExecutionId
    ) -> Annotated[CallToolResult, results.State]:
        """Return an execution: status, progress, cost, and the addresses of its files."""
        with readable():
            execution = await self._access.client(context).executions.get(execution_id)
        state = results.state_of(execution)
        return results.answer(texts.state_text(state), state)

    async def list_executions(
        self, context: AnyContext, status: str | None = None, limit: Limit = 10
    ) -> Annotated[CallToolResult, results.States]:
        """Return the latest executions. status: queued, running, completed, failed, cancelled."""
        with readable():
            page = await self._access.client(context).executions.page(
                status=[status] if status else [], limit=limit
            )
        states = [results.state_of(execution) for execution in page.data]
        lines = "; ".join(f"{state.execution_id} {state.status}" for state in states)
        return results.answer(lines or "No executions.", results.States(executions=states))

    async def get_usage(
        self, context: AnyContext, month: Month | None = None
    ) -> Annotated[CallToolResult, results.Usage]:
        """Return what the account and this key have spent, and what is left."""
        client = self._access.client(context)
        with readable():
            usage, key = await client.usage.get(month), await current_key(client)
        limits = results.limits_of(key.spending) if key is not None else None
        summary = results.Usage(
            month=usage.month,
            limit=results.optional_usd(usage.usd.limit),
            settled=results.usd(usage.usd.settled),
            held=results.usd(usage.usd.held),
            left=results.optional_usd(usage.usd.left),
            videos=usage.videos.settled,
            key=limits,
        )
        left = f" {texts.left_text(limits)}" if limits is not None else ""
        return results.answer(
            f"In {summary.month} the account spent {summary.settled} USD and holds {summary.held} USD."
            f"{left}",
            summary,
        )

    async def wait_execution(
        self,
        context: AnyContext,
        execution_id: ExecutionId,
        seconds: Wait = LONGEST_WAIT_SECONDS,
    ) -> Annotated[CallToolResult, results.State]:
        """Wait for the end of an execution for at most 45 s, and return it as it is then."""
        client = self._access.client(context)

        async def report(execution: Any) -> None:
            await context.report_progress(execution.progress, 100, execution.status)

        with readable():
            try:
                with anyio.fail_after(seconds + WAIT_SLACK_SECONDS):
                    execution = await client.executions.wait(
                        execution_id, seconds, on_progress=report, raise_on_failure=False
                    )
            except (WaitTimeoutError, TimeoutError):
                execution = await client.executions.get(execution_id)
        state = results.state_of(execution)
        return results.answer(texts.state_text(state), state)


class OrderTools:
    """Tools that spend money, or stop spending it."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def generate_video(
        self,
        context: AnyContext,
        prompt: Prompt,
        max_cost: MaxCost,
        request_id: RequestId,
        duration: Seconds | None = None,
        resolution: str | None = None,
        aspect_ratio: str | None = None,
        image_url: ImageUrl | None = None,
        image_model: str | None = None,
        video_model: str | None = None,
    ) -> Annotated[CallToolResult, results.Ordered]:
        """Buy a video, and return at once. Call quote_video first, and agree on max_cost.

        Then call wait_execution. After a lost answer, repeat the call with the same request_id.
        """
        fields = _video(
            prompt, duration, resolution, aspect_ratio, image_url, image_model, video_model
        )
        fields["max_cost"], fields["metadata"] = max_cost, VIA
        client = self._access.client(context)
        with readable(request_id), anyio.fail_after(ORDER_SECONDS):
            await self._access.check_limit(client)
            accepted = await client.executions.generate_video(
                idempotency_key=_key("generate", request_id), **fields
            )
        ordered = await _ordered(client, accepted)
        return results.answer(texts.ordered_text(ordered, "Ordered"), ordered)

    async def retry_execution(
        self,
        context: AnyContext,
        execution_id: ExecutionId,
        max_cost: MaxCost,
        request_id: RequestId,
    ) -> Annotated[CallToolResult, results.RetryOrdered]:
        """Run a failed or cancelled execution again. Steps that are paid for are kept.

        max_cost limits what is bought again: with 0 the refusal names the steps and their prices,
        unless everything is paid for already.
        """
        client = self._access.client(context)
        with readable(request_id), anyio.fail_after(ORDER_SECONDS):
            await self._access.check_limit(client)
            retried = await client.executions.retry(
                execution_id, max_cost=max_cost, idempotency_key=_key("retry", request_id)
            )
        ordered = await _ordered(client, retried)
        result = results.RetryOrdered(
            **ordered.model_dump(),
            kept=[step.step for step in retried.kept],
            to_pay=[
                results.PaidStep(
                    step=step.step, model=step.model, worst=results.usd(step.estimated)
                )
                for step in retried.to_pay
            ],
        )
        kept = f" Kept: {', '.join(result.kept)}." if result.kept else ""
        return results.answer(texts.ordered_text(result, "Retried") + kept, result)

    async def cancel_execution(
        self, context: AnyContext, execution_id: ExecutionId
    ) -> Annotated[CallToolResult, results.CancelResult]:
        """Stop buying, and cancel the jobs that run at providers. Repeating is safe."""
        with readable():
            cancelled = await self._access.client(context).executions.cancel(execution_id)
        result = results.CancelResult(
            execution_id=cancelled.execution_id,
            status=cancelled.status,
            spent=results.usd(cancelled.spent),
            released=results.usd(cancelled.released),
            final=cancelled.final,
        )
        ending = "" if result.final else " A job still runs at its provider."
        return results.answer(
            f"{result.execution_id} is {result.status}: {result.spent} USD spent, "
            f"{result.released} USD released.{ending}",
            result,
        )


def _key(operation: str, request_id: str) -> str:
    return f"mcp/{operation}/{request_id}"


def _video(
    prompt: str,
    duration: int | None,
    resolution: str | None,
    aspect_ratio: str | None,
    image_url: str | None,
    image_model: str | None,
    video_model: str | None,
) -> VideoOrder:
    return {
        "prompt": prompt,
        "duration": duration,
        "resolution": resolution,
        "aspect_ratio": aspect_ratio,
        "image": image_url,
        "image_model": image_model,
        "video_model": video_model,
    }


async def _ordered(client: AsyncTakeone, accepted: AcceptedData) -> results.Ordered:
    """Return an accepted order with its figures. A failed read leaves a figure out."""
    worst, limits = None, None
    try:
        with anyio.fail_after(WAIT_SLACK_SECONDS):
            execution = await client.executions.get(accepted.id)
            worst = results.usd(execution.cost.estimated)
            key = await current_key(client)
            limits = results.limits_of(key.spending) if key is not None else None
    except (TakeoneError, TimeoutError):
        pass
    return results.Ordered(
        execution_id=accepted.id,
        status=accepted.status,
        replayed=accepted.replayed,
        worst=worst,
        key=limits,
    )
