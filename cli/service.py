"""`service show` and `service set-daily-limit`: what the whole service may hold and spend in a day
(UTC).
"""

import argparse
from typing import Any

from cli.common import Arguments, add_actor, exact_usd
from core.domain.money import NanoUsd, usd_text
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import record
from core.store.database import Connection
from core.store.money.daily_spending_cap import get_service_today, set_daily_limit

NO_LIMIT = "none"
_TARGET = "service"


def add_service(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    verbs.add_parser("show", help="today's limit, and what is held and spent of it").set_defaults(
        command=_show
    )
    limit = verbs.add_parser(
        "set-daily-limit",
        help="refuse what could pass this in a day; what was accepted goes on",
        description=_EFFECT,
    )
    limit.add_argument(
        "usd", metavar="USD", type=_limit, help=f"US dollars a day (UTC), or {NO_LIMIT}"
    )
    add_actor(limit)
    limit.set_defaults(command=_set_daily_limit)


_EFFECT = """From the next request on. A request counts with its worst price until its real cost is known, on the day it
was accepted. 0 accepts nothing that costs something."""


async def _show(conn: Connection, _box: Sealer, _arguments: Arguments) -> object:
    return await _today(conn)


async def _set_daily_limit(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    limit: NanoUsd | None = None if arguments.usd == NO_LIMIT else arguments.usd
    old = await set_daily_limit(conn, limit)
    await record(
        conn,
        arguments.actor,
        "service set-daily-limit",
        _TARGET,
        {"from": _text(old), "to": _text(limit)},
    )
    return await _today(conn)


async def _today(conn: Connection) -> dict[str, Any]:
    today = await get_service_today(conn)
    used = today.held_nano_usd + today.settled_nano_usd
    return {
        "day": today.day,
        "dailyUsd": _text(today.daily_nano_usd),
        "heldUsd": usd_text(today.held_nano_usd),
        "settledUsd": usd_text(today.settled_nano_usd),
        "leftUsd": None
        if today.daily_nano_usd is None
        else usd_text(max(0, today.daily_nano_usd - used)),
        "resetsAt": today.resets_at,
    }


def _text(limit: NanoUsd | None) -> str | None:
    return None if limit is None else usd_text(limit)


def _limit(text: str) -> NanoUsd | str:
    return NO_LIMIT if text == NO_LIMIT else exact_usd(text)
