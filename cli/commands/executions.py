"""`takeone-admin executions`: listing and cancelling open executions by a filter."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Final

import typer

from cli.options import Actor, AsJson, RowLimit, plain_text
from cli.output import Shown, show
from cli.session import session_of, snapshot
from core.store.accounts.audit import record
from core.store.executions.operator_cancels import (
    OpenFilter,
    cancel_matching,
    count_stake,
    list_open,
)
from core.store.money.reports.undelivered_spend import UndeliveredOutcome, list_undelivered
from core.store.operator import RefusedError, row_json

BATCH: Final = 100
"""Executions per transaction, so that no lock is held for long."""
SECONDS_PER_MINUTE: Final = 60
REASON: Final = "cancelled by the operator"

COLUMNS: Final = (
    "executionId", "userId", "status", "providers", "states", "heldUsd", "settledUsd", "queuedAt",
)  # fmt: skip

app = typer.Typer(
    help="List and cancel open executions, and list what was spent without a result.",
    no_args_is_help=True,
)


class Status(StrEnum):
    """The states of an open execution."""

    QUEUED = "queued"
    RUNNING = "running"


Execution = Annotated[
    str | None,
    typer.Option(
        "--execution", metavar="ID", parser=plain_text, help="Only this execution (exec_…)."
    ),
]
User = Annotated[
    str | None,
    typer.Option("--user", metavar="USER", parser=plain_text, help="Only of this user (usr_…)."),
]
Provider = Annotated[
    str | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        parser=plain_text,
        help="Only with an unfinished job at this provider.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        parser=plain_text,
        help="Only with an unfinished job of this model.",
    ),
]
StatusOption = Annotated[
    Status | None, typer.Option("--status", help="Default: queued and running.")
]
OlderThan = Annotated[
    int, typer.Option("--older-than", metavar="MINUTES", min=0, help="Since the request.")
]
Everything = Annotated[
    bool, typer.Option("--all", help="All open executions of all users; without other filters.")
]
Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", parser=plain_text, help="Stored with the execution."),
]


@app.command("list")
async def list_some(
    context: typer.Context,
    *,
    execution: Execution = None,
    user: User = None,
    provider: Provider = None,
    model: Model = None,
    status: StatusOption = None,
    older_than: OlderThan = 0,
    limit: RowLimit = 100,
    as_json: AsJson = False,
) -> Shown:
    """List open executions that match every filter and are not being cancelled, the oldest first.

    providers, models, states: of the unfinished jobs. heldUsd is held, settledUsd is spent.
    """
    open_filter = OpenFilter(
        execution_id=execution,
        user_id=user,
        provider=provider,
        model=model,
        status=status,
        older_than_seconds=older_than * SECONDS_PER_MINUTE,
    )
    async with snapshot(context) as conn:
        rows = await list_open(conn, open_filter, limit=limit)
    return show(rows, as_json, columns=COLUMNS)


@app.command()
async def undelivered(
    context: typer.Context,
    *,
    outcome: Annotated[
        UndeliveredOutcome | None, typer.Option("--outcome", help="Default: all of them.")
    ] = None,
    limit: RowLimit = 100,
    as_json: AsJson = False,
) -> Shown:
    """List executions of the last seven days that cost money and delivered nothing.

    The most expensive first. webhook_failed, webhook_pending: they completed, but the webhook was
    not accepted; see webhooks resend.
    """
    async with snapshot(context) as conn:
        rows = await list_undelivered(conn, outcome, limit=limit)
    return show(rows, as_json)


@app.command(
    epilog="Example: takeone-admin executions cancel --provider NAME --status queued. "
    "Add --yes to cancel what it shows."
)
async def cancel(
    context: typer.Context,
    *,
    execution: Execution = None,
    user: User = None,
    provider: Provider = None,
    model: Model = None,
    status: StatusOption = None,
    older_than: OlderThan = 0,
    everything: Everything = False,
    reason: Reason = REASON,
    yes: Annotated[bool, typer.Option("--yes", help="Cancel. Without it, only count.")] = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Cancel the open executions that match every filter. Without --yes, only count them.

    Shows how many they are and the money at stake: heldUsd is held for unfinished jobs; sentUsd is
    the part of it that is at providers and may be billed in spite of the cancel; settledUsd is
    spent already. No send starts after the cancel. Running jobs are ended at their providers, their
    real cost is settled and the rest released; users receive their webhooks. The workers end the
    executions within a minute. Repeating is safe.
    """
    open_filter = OpenFilter(
        execution_id=execution,
        user_id=user,
        provider=provider,
        model=model,
        status=status,
        older_than_seconds=older_than * SECONDS_PER_MINUTE,
    )
    if everything == (open_filter != OpenFilter()):
        raise RefusedError("give at least one filter, or --all alone for every open execution")
    async with snapshot(context) as conn:
        stake = await count_stake(conn, open_filter)
    cancelled = 0
    if yes:
        cancelled = await _cancel(context, open_filter, reason, actor, limit=stake.executions)
    report = {"dryRun": not yes, "matching": row_json(asdict(stake)), "cancelled": cancelled}
    return show(report, as_json)


async def _cancel(
    context: typer.Context, open_filter: OpenFilter, reason: str, actor: str, *, limit: int
) -> int:
    """Cancel in batches, each with its audit entry in the same transaction.

    limit: what was counted, so that requests that arrive meanwhile cannot prolong the command.
    """
    filters = {name: value for name, value in asdict(open_filter).items() if value}
    target = open_filter.execution_id or open_filter.user_id or "executions"
    total = 0
    async with session_of(context).database() as database:
        while total < limit:
            async with database.as_system() as conn:
                batch = min(BATCH, limit - total)
                cancelled = await cancel_matching(conn, open_filter, reason, limit=batch)
                if cancelled is None:
                    break
                detail = {"filter": filters, "reason": reason, "executions": cancelled}
                if cancelled:
                    await record(conn, actor, "executions cancel", target, detail)
            total += len(cancelled)
    return total
