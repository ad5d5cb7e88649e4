"""`takeone-admin overview` and `queues`: the state of the whole service in one look."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from cli.commands.providers import state_json
from cli.commands.service import today_json
from cli.commands.submits import pauses_json
from cli.options import AsJson
from cli.output import Shown, show
from cli.session import snapshot
from core.domain.money import usd_text
from core.store.database import Connection
from core.store.measures import open_work
from core.store.measures.held_money import measure_holds
from core.store.measures.ledger_checks import list_checks
from core.store.measures.open_work import Waiting
from core.store.measures.queues import list_provider_loads, list_user_loads
from core.store.measures.reconciler_runs import is_led, list_runs
from core.store.measures.user_alarms import list_alarms
from core.store.money.reports.undelivered_spend import measure_undelivered
from core.store.operator import row_json
from core.store.providers.capacity import list_states

ALARM_DAYS: Final = 7
ALARMS: Final = 20
USERS: Final = 50
LATE_SECONDS: Final = 900.0
"""A task this long after its due time is late; all but one are due every minute or more often."""


async def overview(context: typer.Context, *, as_json: AsJson = False) -> Shown:
    """Show the money in flight, open work, pauses, the reconciler and the last ledger checks.

    unknownSends: paid calls without an answer. openBills: ended jobs whose cost is not known yet.
    undelivered: spent in the last seven days without a delivered result. late: tasks of the
    reconciler that have not succeeded for 15 minutes after they were due. alarms: of users, in the
    last seven days.
    """
    async with snapshot(context) as conn:
        report = {
            "today": await today_json(conn),
            **await _money(conn),
            **await _work(conn),
            "refusing": [state_json(s) for s in await list_states(conn) if s.tripped_at],
            "paused": await pauses_json(conn),
            "reconciler": await _reconciler(conn),
            "ledgerChecks": [row_json(asdict(check)) for check in await list_checks(conn)],
            "alarms": [
                row_json(asdict(alarm))
                for alarm in await list_alarms(conn, days=ALARM_DAYS, limit=ALARMS)
            ],
        }
    return show(report, as_json)


async def queues(
    context: typer.Context,
    *,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=1000, help="The number of users.")
    ] = USERS,
    as_json: AsJson = False,
) -> Shown:
    """Show what waits for each provider key and for each user, and for how long.

    waiting: jobs that wait for a slot. openJobs: all unfinished jobs of the key, measured once a
    minute, and workSeconds the time for which they occupy its slots.
    """
    async with snapshot(context) as conn:
        providers = await list_provider_loads(conn)
        users = await list_user_loads(conn, limit=limit)
    report = {
        "providers": [_rounded(asdict(each)) for each in providers],
        "users": [_rounded(asdict(each)) for each in users],
    }
    return show(report, as_json)


async def _money(conn: Connection) -> dict[str, Any]:
    holds = await measure_holds(conn)
    undelivered = await measure_undelivered(conn)
    return {
        "inFlight": [
            {
                "provider": provider,
                "heldUsd": usd_text(held.nano_usd),
                "oldestSeconds": round(held.oldest_seconds),
            }
            for provider, held in sorted(holds.items())
        ],
        "undelivered": [
            {
                "outcome": outcome,
                "executions": spend.executions,
                "usd": usd_text(spend.nano_usd),
                "oldestSeconds": round(spend.oldest_seconds),
            }
            for outcome, spend in sorted(undelivered.items())
        ],
    }


async def _work(conn: Connection) -> dict[str, Any]:
    return {
        "unknownSends": _waiting("provider", await open_work.measure_unknown(conn)),
        "openBills": _waiting("provider", await open_work.measure_open_bills(conn)),
        "executions": _waiting("status", await open_work.measure_open_executions(conn)),
        "pendingWebhooks": _waiting("type", await open_work.measure_pending_webhooks(conn)),
    }


def _waiting(name: str, measured: Mapping[str, Waiting]) -> list[dict[str, Any]]:
    return [
        {name: key, "number": each.number, "oldestSeconds": round(each.oldest_seconds)}
        for key, each in sorted(measured.items())
    ]


async def _reconciler(conn: Connection) -> dict[str, Any]:
    runs = await list_runs(conn)
    return {
        "leads": await is_led(conn),
        "lastSuccessSeconds": round(min(run.age_seconds for run in runs)) if runs else None,
        "late": [
            _rounded(asdict(run))
            for run in runs
            if run.age_seconds > run.every_seconds + LATE_SECONDS
        ],
    }


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as JSON, with whole seconds."""
    plain = {
        name: round(value) if isinstance(value, float) else value for name, value in row.items()
    }
    return row_json(plain)
