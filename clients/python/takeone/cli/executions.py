"""Executions: list, get, cancel, retry and approve."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from takeone.cli._core import output, profiles, values
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError
from takeone.cli.ordering import consent

if TYPE_CHECKING:
    from takeone import Execution
    from takeone.models import Cancelled, Job, RetriedData

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
    click.echo(
        f"{cancelled.execution_id} {cancelled.status}: {output.usd(cancelled.spent)} spent, "
        f"{output.usd(cancelled.released)} released"
        + ("" if cancelled.final else "; not final yet")
    )


@click.command(cls=Command)
@click.argument("execution_id", metavar="ID")
@click.option("--yes", "-y", is_flag=True, help="Retry without a question and without a limit.")
@click.option("--max-cost", metavar="USD", help="Refuse the retry if it may cost more.")
@click.option(
    "--accept-possible-double-cost",
    "accept",
    is_flag=True,
    help="Buy a step again although an earlier purchase may still be billed.",
)
@click.option(
    "--idempotency-key", metavar="KEY", help="The key of an earlier call whose answer was lost."
)
@pass_app
def retry(
    app: App,
    execution_id: str,
    yes: bool,
    max_cost: str | None,
    accept: bool,
    idempotency_key: str | None,
) -> None:
    """Run an execution again, and keep what is paid for.

    What is kept and what has to be paid comes first. The service refuses the retry if it may cost
    more than was shown, for example because a stored file was lost.
    """
    client = app.client
    execution = client.executions.get(execution_id)
    kept, to_pay = _last_jobs(execution)
    if not execution.ended or execution.status == "completed":
        raise StopError(
            Exit.USAGE,
            f"{execution_id} is {execution.status}; only failed or cancelled executions are retried.",
        )
    for job in kept:
        output.note(f"Kept: {job.step}, {output.usd(job.cost.settled)} paid")
    for job in to_pay:
        output.note(f"To pay: {job.step} ({job.model}), {output.usd(job.cost.estimated)} at most")
    worst = sum((job.cost.estimated for job in to_pay), start=execution.cost.settled * 0)
    limit = None if max_cost is None else profiles.amount(max_cost, "--max-cost")
    consent(app, worst, yes=yes, max_cost=limit)
    retried = client.executions.retry(
        execution_id,
        max_cost=worst if limit is None and not yes else limit,
        accept_possible_double_cost=accept,
        idempotency_key=idempotency_key,
    )
    app.show(retried, lambda: _show_retried(retried))


def _last_jobs(execution: "Execution") -> tuple[list["Job"], list["Job"]]:
    """Return the last job of each step: those that a retry keeps, and those that it buys again."""
    last = {job.step: job for job in execution.jobs if not job.orphan}
    jobs = list(last.values())
    return (
        [job for job in jobs if job.state == "completed"],
        [job for job in jobs if job.state != "completed"],
    )


def _show_retried(retried: "RetriedData") -> None:
    click.echo(retried.id)
    output.note(
        f"Generation {retried.generation} is queued: {len(retried.kept)} steps kept, "
        f"{output.usd(retried.estimated)} at most to pay. Its progress: takeone watch {retried.id}"
    )


@click.command(cls=Command)
@click.argument("execution_id", metavar="ID")
@click.argument("step", required=False)
@click.argument("option", required=False)
@click.option("--reject", is_flag=True, help="Choose none of the options.")
@pass_app
def approve(
    app: App, execution_id: str, step: str | None, option: str | None, reject: bool
) -> None:
    """Decide about a step that waits for an approval.

    Without STEP, the open decisions are listed, with their files and the price of the rest. OPTION
    may be left out where there is only one.
    """
    client = app.client
    if step is None:
        _list_decisions(app, client.executions.get(execution_id))
        return
    approved = client.executions.approve(execution_id, step, option, reject=reject)
    chosen = f", {approved.option}" if approved.option else ""
    app.show(
        approved,
        lambda: click.echo(f"{approved.execution_id} {approved.step}: {approved.decision}{chosen}"),
    )


def _list_decisions(app: App, execution: "Execution") -> None:
    rows = [
        (waiting.step, option.step, waiting.rest.worst, file.url)
        for waiting in execution.waiting_for
        for option in waiting.options
        for file in option.assets
    ]
    app.show(
        {"data": execution.waiting_for},
        lambda: output.table(
            ("step", "option", "rest at most", "file"),
            [(step, option, output.usd(worst), url) for step, option, worst, url in rows],
        ),
    )
