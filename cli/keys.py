"""`keys …`: a user's API keys, made, listed and revoked by an operator."""

import argparse
from dataclasses import asdict

from cli.common import Arguments, add_actor
from cli.rates import add_set_rate, rates_json
from core.domain.ids import KeyId, UserId
from core.domain.scopes import ALL_SCOPES, Scope
from core.platform.crypto.sealing import Sealer
from core.store.accounts.audit import record
from core.store.accounts.rate_limit import KeyRates
from core.store.accounts.users import insert_api_key, list_api_keys, lock_limits, revoke_api_key
from core.store.database import Connection
from core.store.operator import camel


def add_keys(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    create = verbs.add_parser("create", help="make an API key; prints it, once")
    create.add_argument("user", metavar="USER", help="user id (usr_…)")
    create.add_argument("--name", type=name_text, default="key", help="to tell keys apart")
    create.add_argument(
        "--scope",
        choices=[scope.value for scope in Scope],
        action="append",
        help="what it may be used for; may be given several times; default: everything",
    )
    create.add_argument("--expires-days", metavar="DAYS", type=_days, help="default: never")
    add_actor(create)
    create.set_defaults(command=_create_key)
    listing = verbs.add_parser(
        "list", help="a user's API keys, without their secrets: those that are accepted first"
    )
    listing.add_argument("user", metavar="USER", help="user id (usr_…)")
    listing.set_defaults(command=_list_keys)
    add_set_rate(verbs.add_parser("set-rate", help="how many requests a key may send in a window"))
    revoke = verbs.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("key", metavar="KEY", help="key id (key_…)")
    add_actor(revoke)
    revoke.set_defaults(command=_revoke_key)


def name_text(text: str) -> str:
    if not text.strip() or len(text) > 200 or not text.isprintable():
        raise argparse.ArgumentTypeError("a name has 1 to 200 printable characters")
    return text


def _days(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:6]) <= 36_500:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 1 to 36500")
    return int(text)


async def _create_key(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    scopes = frozenset(map(Scope, arguments.scope or ALL_SCOPES))
    key = await insert_api_key(
        conn,
        UserId(arguments.user),
        arguments.name,
        scopes=scopes,
        expires_days=arguments.expires_days,
    )
    named = {"keyId": key.key_id, "name": arguments.name, "scopes": sorted(scopes)}
    detail = {**named, "expiresDays": arguments.expires_days}
    await record(conn, arguments.actor, "keys create", arguments.user, detail)
    return {"userId": arguments.user, **named, "apiKey": key.key.text}


async def _list_keys(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    await lock_limits(conn, UserId(arguments.user))  # that there is such a user
    return [
        {camel(name): value for name, value in asdict(entry).items()}
        | rates_json(KeyRates(writes=entry.rate_writes, reads=entry.rate_reads))
        for entry in await list_api_keys(conn, UserId(arguments.user))
    ]


async def _revoke_key(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    revoked_at = await revoke_api_key(conn, KeyId(arguments.key))
    if revoked_at is None:
        raise LookupError(f"no key {arguments.key}")
    await record(conn, arguments.actor, "keys revoke", arguments.key, {})
    return {"keyId": arguments.key, "revokedAt": revoked_at}
