"""`takeone-admin service`: the daily spending cap of the whole service."""

from typing import Annotated, Any

import typer

from cli.options import NONE, Actor, AsJson, Limit, exact_usd
from cli.output import Shown, show
from cli.session import transaction
from core.domain.money import NanoUsd, usd_text
from core.store.accounts.audit import record
from core.store.database import Connection
from core.store.money.daily_spending_cap import get_service_today, set_daily_limit

_TARGET = "service"

app = typer.Typer(help="Show and set the daily spending cap of the service.", no_args_is_help=True)


def _cap(text: str) -> Limit:
    return Limit(None) if text == NONE else Limit(exact_usd(text))


@app.command("show")
async def show_today(context: typer.Context, *, as_json: AsJson = False) -> Shown:
    """Show today's cap (UTC), and how much of it is held and spent."""
    async with transaction(context) as conn:
        return show(await today_json(conn), as_json)


@app.command(
    "set-daily-limit",
    epilog="Examples: takeone-admin service set-daily-limit 500; "
    "takeone-admin service set-daily-limit none",
)
async def change_daily_limit(
    context: typer.Context,
    usd: Annotated[
        Limit,
        typer.Argument(metavar="USD", parser=_cap, help=f"US dollars per day (UTC), or {NONE}."),
    ],
    *,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Refuse requests that could exceed this amount in a day. Accepted requests continue.

    A request counts with its highest price until its real cost is known, on the day on which it was
    accepted. 0 refuses everything that costs money.
    """
    limit = None if usd.value is None else NanoUsd(usd.value)
    async with transaction(context) as conn:
        old = await set_daily_limit(conn, limit)
        detail = {"from": _text(old), "to": _text(limit)}
        await record(conn, actor, "service set-daily-limit", _TARGET, detail)
        return show(await today_json(conn), as_json)


async def today_json(conn: Connection) -> dict[str, Any]:
    """Return today's cap, and how much of it is held and spent."""
    today = await get_service_today(conn)
    cap, used = today.daily_nano_usd, today.held_nano_usd + today.settled_nano_usd
    return {
        "day": today.day,
        "dailyUsd": _text(cap),
        "heldUsd": usd_text(today.held_nano_usd),
        "settledUsd": usd_text(today.settled_nano_usd),
        "leftUsd": None if cap is None else usd_text(max(0, cap - used)),
        "resetsAt": today.resets_at,
    }


def _text(limit: NanoUsd | None) -> str | None:
    return None if limit is None else usd_text(limit)
