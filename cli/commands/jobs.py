"""`takeone-admin jobs`: jobs with an unknown outcome or an open bill, resolved by an operator."""

from enum import StrEnum
from typing import Annotated

import typer

from cli.options import (
    Actor,
    AsJson,
    DryRun,
    JobArgument,
    Note,
    RowLimit,
    exact_usd,
    plain_text,
)
from cli.output import Shown, show, show_change
from cli.session import transaction
from core.domain.ids import JobId
from core.domain.money import NANO_PER_USD, NanoUsd, usd_text
from core.store.accounts.audit import record
from core.store.database import Connection
from core.store.jobs.cases import get_case, list_cases
from core.store.jobs.manual_changes import (
    Adoption,
    ManualSettlement,
    adopt_by_hand,
    release_by_hand,
    settle_by_hand,
)
from core.store.money.refunds import refund_by_hand
from core.store.operator import RefusedError

UNUSUAL_NANO_USD = NanoUsd(10_000 * NANO_PER_USD)
"""A job that costs more is more likely a typing error, so --yes must confirm it."""
SECONDS_PER_MINUTE = 60
COLUMNS = (
    "jobId", "provider", "state", "executionStatus", "orphan", "failureCode", "providerJobId", "heldUsd", "ageSeconds",
)  # fmt: skip
CONSEQUENCES = {
    Adoption.SUBMITTED: "its execution continues with it; if that has ended, the reconciler ends and settles the job",
    Adoption.LATE: "the job had been given up: the reconciler settles its bill",
    Adoption.ORPHAN: "the job does not use it: the reconciler ends it and books it as an orphan",
    Adoption.ALREADY: "it was adopted already: the job has this id; jobs show prints its state",
}

app = typer.Typer(
    help="Find and resolve jobs that the product cannot resolve by itself.", no_args_is_help=True
)


class State(StrEnum):
    """The groups of jobs that `jobs list` can be limited to."""

    UNKNOWN = "unknown"
    SUBMISSION_UNKNOWN = "submission-unknown"
    OPEN_BILLS = "open-bills"
    ORPHANS = "orphans"


@app.command("list")
async def list_open(
    context: typer.Context,
    *,
    state: Annotated[
        State | None,
        typer.Option(
            "--state", help="Default: unknown jobs, open bills and orphans without a cost."
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", parser=plain_text)
    ] = None,
    older_than: Annotated[
        int,
        typer.Option("--older-than", metavar="MINUTES", min=0, help="Age of the last send."),
    ] = 0,
    limit: RowLimit = 100,
    as_json: AsJson = False,
) -> Shown:
    """List jobs whose outcome or bill is open, the oldest first."""
    async with transaction(context) as conn:
        rows = await list_cases(
            conn,
            state,
            provider=provider,
            older_than_seconds=older_than * SECONDS_PER_MINUTE,
            limit=limit,
        )
    return show(rows, as_json, columns=COLUMNS)


@app.command("show")
async def show_job(context: typer.Context, job: JobArgument, *, as_json: AsJson = False) -> Shown:
    """Show everything about a job: sends, callbacks, money, and what operators changed."""
    async with transaction(context) as conn:
        return show(await get_case(conn, JobId(job)), as_json)


@app.command(epilog="Example: takeone-admin jobs adopt job_… 9f0c… --note 'seen in the dashboard'")
async def adopt(
    context: typer.Context,
    job: JobArgument,
    provider_job_id: Annotated[
        str, typer.Argument(metavar="PROVIDER_JOB_ID", help="The id of the job at the provider.")
    ],
    *,
    send: Annotated[
        int | None,
        typer.Option("--send", metavar="N", min=1, help="The send. Default: the current one."),
    ] = None,
    note: Note = None,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Record which provider job an unknown or given-up send became."""
    async with transaction(context, dry_run=dry_run) as conn:
        adopted = await adopt_by_hand(conn, JobId(job), provider_job_id, send=send)
        detail = {
            "providerJobId": provider_job_id,
            "send": adopted.send,
            "outcome": adopted.outcome,
        }
        if adopted.outcome is Adoption.ORPHAN:
            detail["orphanJobId"] = adopted.job_id
        if adopted.changed:
            await record(conn, actor, "jobs adopt", job, detail | {"note": note})
    report = {"jobId": job, "changed": adopted.changed, **detail}
    report["then"] = CONSEQUENCES[adopted.outcome]
    return show_change(report, as_json, dry_run=dry_run)


@app.command(epilog='Example: takeone-admin jobs settle job_… --usd 0.3 --note "invoice 7"')
async def settle(
    context: typer.Context,
    job: JobArgument,
    *,
    usd: Annotated[
        int,
        typer.Option(
            "--usd", metavar="USD", parser=exact_usd, help="The cost; 0: nothing was bought."
        ),
    ],
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Also above 10000 USD, and when the provider has an id for the job."
        ),
    ] = False,
    note: Note = None,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Book the open bill of an ended job, marked as assumed."""
    if usd > UNUSUAL_NANO_USD and not yes:
        raise RefusedError(f"{usd_text(usd)} USD for one job is unusual: confirm with --yes")
    async with transaction(context, dry_run=dry_run) as conn:
        booked = await settle_by_hand(conn, JobId(job), NanoUsd(usd), confirmed=yes)
        report = await _record_booking(conn, "jobs settle", job, booked, actor, note)
    return show_change(report, as_json, dry_run=dry_run)


@app.command()
async def release(
    context: typer.Context,
    job: JobArgument,
    *,
    note: Note = None,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Release the hold of a job that the provider never accepted."""
    async with transaction(context, dry_run=dry_run) as conn:
        booked = await release_by_hand(conn, JobId(job))
        report = await _record_booking(conn, "jobs release", job, booked, actor, note)
    return show_change(report, as_json, dry_run=dry_run)


@app.command(epilog='Example: takeone-admin jobs refund job_… 0.3 --reason "credit note 12"')
async def refund(
    context: typer.Context,
    job: JobArgument,
    usd: Annotated[int, typer.Argument(metavar="USD", parser=exact_usd, help="The exact amount.")],
    *,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", parser=plain_text, help="For the audit log."),
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="TEXT",
            parser=plain_text,
            help="The provider's reference; each further refund of the job needs its own.",
        ),
    ] = None,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Book what the provider gave back of a settled bill."""
    if usd == 0:
        raise RefusedError("the refund amount must be positive")
    async with transaction(context, dry_run=dry_run) as conn:
        refunded = await refund_by_hand(conn, JobId(job), NanoUsd(usd), reference=reference)
        money = {
            "settledUsd": usd_text(refunded.settled_nano_usd),
            "refundedUsd": usd_text(refunded.refunded_nano_usd),
        }
        if refunded.changed:
            detail = {"usd": usd_text(usd), "reference": reference, "reason": reason}
            await record(conn, actor, "jobs refund", job, detail | money)
    report = {"jobId": job, "changed": refunded.changed, **money}
    return show_change(report, as_json, dry_run=dry_run)


async def _record_booking(
    conn: Connection, action: str, job: str, booked: ManualSettlement, actor: str, note: str | None
) -> dict[str, object]:
    money = {
        "heldUsd": usd_text(booked.held_nano_usd),
        "settledUsd": usd_text(booked.settled_nano_usd),
        "outcome": "released: never accepted, nothing paid"
        if booked.released
        else "settled as assumed",
    }
    if booked.changed:
        await record(conn, actor, action, job, money | {"note": note})
    return {"jobId": job, "changed": booked.changed, **money}
