"""Executions: list, get and cancel."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from takeone.cli._core import output, values
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.progress import left

if TYPE_CHECKING:
    from takeone import Execution
    from takeone.models import Cancelled

PAGE = 100
STATUSES = ("queued", "running", "completed", "failed", "cancelled")


@click.command("list", cls=Command)
@click.option(
    "--status", multiple=True, type=click.Choice(STATUSES), help="Only these; may be repeated."
)
@click.option("--since", metavar="TIME", help="An age such as 24h or 7d, or a date (UTC).")
@click.option("--metadata", metavar="NAME=VALUE", help="Only orders with this own data.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most."
)
@pass_app
def list_(
    app: App, status: tuple[str, ...], since: str | None, metadata: str | None, limit: int
) -> None:
    """List executions, newest first."""
    filters: dict[str, Any] = {
        "status": list(status) or None,
        "created_after": values.moment(since) if since else None,
    }
    if metadata:
        ((filters["metadata_key"], filters["metadata_value"]),) = values.pairs(
            [metadata], "--metadata"
        ).items()
    iterator = app.client.executions.list(limit=min(limit, PAGE), **filters)
    app.show_list(
        list(islice(iterator, limit)),
        ("id", "type", "status", "progress", "cost", "created"),
        lambda each: (
            each.id,
            each.type,
            each.status,
            f"{each.progress} %",
            output.usd(each.cost.settled),
            output.when(each.created_at),
        ),
    )


@click.command(cls=Command)
@click.argument("execution_id", metavar="ID")
@pass_app
def get(app: App, execution_id: str) -> None:
    """Show an execution: status, cost, jobs and result."""
    execution = app.client.executions.get(execution_id)
    app.show(execution, lambda: _show(execution))


def _show(execution: "Execution") -> None:
    cost = execution.cost
    error = execution.error
    output.facts(
        {
            "id": execution.id,
            "type": execution.type,
            "status": execution.status,
            "progress": f"{execution.progress} %",
            "estimate": left(execution.eta.seconds) if execution.eta else None,
            "created": output.when(execution.created_at),
            "estimated": output.usd(cost.estimated),
            "held": output.usd(cost.held),
            "settled": output.usd(cost.settled) + ("" if cost.final else ", not final"),
            "error": f"{error.code}: {error.message}" if error else None,
            "result": execution.result.url if execution.result else None,
        }
    )
    output.table(
        ("step", "state", "model", "provider", "settled"),
        [
            (job.step, job.state, job.model, job.provider, output.usd(job.cost.settled))
            for job in execution.jobs
        ],
    )
    for waiting in execution.waiting_for:
        options = ", ".join(option.step for option in waiting.options)
        output.note(f"Step {waiting.step} waits for a decision between: {options}")


@click.command(cls=Command)
@click.argument("execution_id", metavar="ID")
@pass_app
def cancel(app: App, execution_id: str) -> None:
    """Buy nothing more, and cancel what runs at providers."""
    cancelled = app.client.executions.cancel(execution_id)
    app.show(cancelled, lambda: _show_cancelled(cancelled))


def _show_cancelled(cancelled: "Cancelled") -> None:
    output.say(
        f"{cancelled.execution_id} {cancelled.status}: {output.usd(cancelled.spent)} spent, "
        f"{output.usd(cancelled.released)} released"
        + ("" if cancelled.final else "; not final yet")
    )
