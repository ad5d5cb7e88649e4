"""`takeone-admin webhooks`: finding and resending what receivers missed."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final

import typer

from cli.options import Actor, AsJson, DryRun, Note, RowLimit, plain_text, utc_time
from cli.output import Shown, show, show_change
from cli.session import session_of, snapshot, transaction
from core.domain.ids import EndpointId, EventId, UserId
from core.domain.messages.webhooks import WebhookState
from core.store.accounts.audit import record
from core.store.database import Database
from core.store.operator import RefusedError
from core.store.webhooks.delivery_log import ResendRange, resend_page
from core.store.webhooks.events import EndpointClosedError, WebhookNotFoundError, next_delivery
from core.store.webhooks.resends import ResendFilter, count_resends, list_events

PAGE: Final = 1000
"""Resends per transaction."""

app = typer.Typer(help="List and resend webhooks.", no_args_is_help=True)

State = Annotated[
    WebhookState,
    typer.Option("--state", help="The state of the events."),
]
User = Annotated[
    str | None,
    typer.Option("--user", metavar="USER", parser=plain_text, help="Only of this user (usr_…)."),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint", metavar="ID", parser=plain_text, help="Only for this endpoint (end_…)."
    ),
]
From = Annotated[
    datetime | None,
    typer.Option(
        "--from", metavar="TIME", parser=utc_time, help="Created at this time or later (ISO 8601)."
    ),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", metavar="TIME", parser=utc_time, help="Created before. Default: now."),
]


@app.command("list")
async def list_some(
    context: typer.Context,
    *,
    state: State = WebhookState.FAILED,
    user: User = None,
    endpoint: Endpoint = None,
    since: From = None,
    before: To = None,
    limit: RowLimit = 100,
    as_json: AsJson = False,
) -> Shown:
    """List events in a state, the oldest first, with the last attempt of each."""
    chosen = ResendFilter(
        state=state, user_id=user, endpoint_id=endpoint, created_from=since, created_before=before
    )
    async with snapshot(context) as conn:
        rows = await list_events(conn, chosen, limit=limit)
    return show(rows, as_json)


@app.command(
    epilog="Example: takeone-admin webhooks resend --user usr_… --state delivered "
    "--from 2026-11-22T10:00:00Z --to 2026-11-22T11:00:00Z. Add --yes to send what it shows."
)
async def resend(
    context: typer.Context,
    event: Annotated[
        str | None,
        typer.Argument(metavar="[EVENT]", help="One event (evt_…), instead of the filters."),
    ] = None,
    *,
    state: State = WebhookState.FAILED,
    user: User = None,
    endpoint: Endpoint = None,
    since: From = None,
    before: To = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send. Without it, only count.")] = False,
    note: Note = None,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Deliver one event, or all events that match every filter, once more.

    Each event keeps its id and its body and starts a new schedule of attempts, within a minute.
    Receivers that check the event id ignore what they have. Events whose endpoint is disabled or
    deleted are skipped. The filters need --user, --endpoint or --from. Without --yes, the filters
    only count. Repeating sends failed events once, because a resent event is pending; delivered
    events are sent again each time.
    """
    if event is not None:
        if user or endpoint or since or before:
            raise RefusedError("an event and filters cannot be combined")
        return await _resend_one(context, event, actor, note, dry_run=dry_run, as_json=as_json)
    if user is None and endpoint is None and since is None:
        raise RefusedError("give an event, or at least one of --user, --endpoint and --from")
    chosen = ResendFilter(
        state=state, user_id=user, endpoint_id=endpoint, created_from=since, created_before=before
    )
    async with transaction(context) as conn:
        # Nothing that is created while the command runs matches.
        chosen = replace(
            chosen, created_before=before or await conn.fetchval("SELECT clock_timestamp()")
        )
        counts = await count_resends(conn, chosen)
    resent = 0
    yes = yes and not dry_run
    if yes:
        async with session_of(context).database() as database:
            for count in counts:
                resent += await _resend_all(database, UserId(count.user_id), chosen, actor, note)
    report = {
        "dryRun": not yes,
        "events": sum(count.events for count in counts),
        "skipped": sum(count.skipped for count in counts),
        "users": len(counts),
        "resent": resent,
    }
    return show(report, as_json)


async def _resend_one(
    context: typer.Context,
    event: str,
    actor: str,
    note: str | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> Shown:
    async with transaction(context, dry_run=dry_run) as conn:
        try:
            order = await next_delivery(conn, EventId(event))
        except WebhookNotFoundError:
            raise LookupError(f"no event {event}") from None
        except EndpointClosedError as error:
            raise RefusedError(
                f"the endpoint of {event} takes nothing ({error.reason or 'disabled'}): its user must enable it"
            ) from None
        detail = {"delivery": order.delivery, "note": note}
        await record(conn, actor, "webhooks resend", event, detail)
    report = {"eventId": event, "delivery": order.delivery, "resent": 1}
    return show_change(report, as_json, dry_run=dry_run)


async def _resend_all(
    database: Database, user_id: UserId, chosen: ResendFilter, actor: str, note: str | None
) -> int:
    """Resend a user's events page by page, each with its audit entry."""
    endpoint = EndpointId(chosen.endpoint_id) if chosen.endpoint_id is not None else None
    created_from, created_before = chosen.bounds
    page = ResendRange(
        created_from=created_from,
        created_before=created_before,
        state=chosen.state,
        endpoint_id=endpoint,
        after=None,
        limit=PAGE,
    )
    total = 0
    while True:
        async with database.as_system() as conn:
            result = await resend_page(conn, user_id, page)
            if result.resent:
                detail = {
                    "state": chosen.state,
                    "endpoint": endpoint,
                    "from": created_from.isoformat(),
                    "to": created_before.isoformat(),
                    "resent": result.resent,
                    "skipped": result.skipped,
                    "note": note,
                }
                await record(conn, actor, "webhooks resend", user_id, detail)
        total += result.resent
        if result.next_after is None:
            return total
        page = replace(page, after=result.next_after)
