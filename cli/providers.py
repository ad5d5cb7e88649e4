"""`providers`: what each provider lets us do now, and starting anew with it."""

import argparse
from dataclasses import asdict
from typing import Any

from cli.common import Arguments, add_actor, plain_text
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import record
from core.store.database import Connection
from core.store.operator import camel
from core.store.providers.capacity import ProviderState, list_states, reset


async def _show(conn: Connection, _box: Sealer, _arguments: Arguments) -> object:
    return [_state_json(state) for state in await list_states(conn)]


async def _reset(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    forgotten = await reset(conn, arguments.provider)
    if forgotten is not None:
        detail = {
            "trippedCode": forgotten["tripped_code"],
            "maxInFlight": forgotten["max_in_flight"],
            "submitsPerSecond": forgotten["submits_per_second"],
            "note": arguments.note,
        }
        await record(conn, arguments.actor, "providers reset", arguments.provider, detail)
    return {"provider": arguments.provider, "changed": forgotten is not None}


def _state_json(state: ProviderState) -> dict[str, Any]:
    plain: dict[str, Any] = {camel(name): value for name, value in asdict(state).items()}
    return {"provider": plain.pop("provider"), "accepts": state.tripped_at is None, **plain}


def add_providers(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    show = verbs.add_parser(
        "show", help="what is in flight at each, what its 429s left, whether it refuses us"
    )
    show.set_defaults(command=_show)
    meaning = "try again now: its breaker is closed, what its 429s taught is forgotten"
    change = verbs.add_parser("reset", help=meaning, description=meaning)
    change.add_argument(
        "provider", metavar="PROVIDER", type=plain_text, help="its name, as providers show has it"
    )
    change.add_argument("--note", metavar="TEXT", type=plain_text, help="why, for the audit log")
    add_actor(change)
    change.set_defaults(command=_reset)
