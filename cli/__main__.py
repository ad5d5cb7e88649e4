"""`python -m cli`: users, API keys, jobs that need a person, pauses; straight in the database.
Prints JSON.

Secrets are shown once. What changes something is written into the audit log.
"""

import argparse
import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Any

import asyncpg

from cli.common import Arguments, Command, DatabaseCommand, Told, add_actor, default_actor
from cli.identities import add_identities
from cli.jobs import add_audit, add_jobs, add_submits
from cli.keys import add_keys, name_text
from cli.ledger import add_ledger
from cli.providers import add_providers
from cli.secrets import add_secrets
from cli.service import add_service
from cli.webhooks import add_set_webhook
from core.domain.ids import UserId
from core.domain.money import NanoUsd, nano_usd, usd_text
from core.platform.crypto.sealing import Sealer
from core.platform.observability.logging import configure_logging
from core.platform.settings.processes import AdminProcess, describe_settings, load, secret_values
from core.store.accounts.audit import record
from core.store.accounts.users import (
    UserLimits,
    insert_api_key,
    insert_user,
    list_users,
    lock_limits,
    set_disabled,
    set_limits,
)
from core.store.database import DATABASE_DOWN, Connection, Database
from core.store.operator import RefusedError

MAX_LIMIT = 2**63 - 1  # bigint
NO_LIMIT = "none"
DEFAULT = "default"


async def _create_user(conn: Connection, box: Sealer, arguments: Arguments) -> object:
    limits = UserLimits(
        monthly_videos=_unlimited(arguments.monthly_videos),
        monthly_nano_usd=_unlimited(arguments.monthly_usd),
        open_executions=_default(arguments.open_executions),
        running_executions=_default(arguments.running_executions),
    )
    user = await insert_user(conn, box, arguments.name, limits)
    key = await insert_api_key(conn, user.user_id, "first")
    detail = {"name": arguments.name, "keyId": key.key_id, **_limits_json(limits)}
    await record(conn, arguments.actor, "users create", user.user_id, detail)
    return {
        "userId": user.user_id,
        "name": arguments.name,
        "apiKey": key.key.text,
        "keyId": key.key_id,
        "webhookSecret": user.webhook_secret,
        **_limits_json(limits),
    }


async def _list_users(conn: Connection, _box: Sealer, _arguments: Arguments) -> object:
    return [
        {
            "userId": user.user_id,
            "name": user.name,
            **_limits_json(user.limits),
            "webhookUrl": user.webhook_url,
            "createdAt": user.created_at,
            "disabledAt": user.disabled_at,
        }
        for user in await list_users(conn)
    ]


async def _set_limits(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    user_id = UserId(arguments.user)
    old = await lock_limits(conn, user_id)
    videos, usd = arguments.monthly_videos, arguments.monthly_usd
    opened, running = arguments.open_executions, arguments.running_executions
    limits = UserLimits(
        monthly_videos=old.monthly_videos if videos is None else _unlimited(videos),
        monthly_nano_usd=old.monthly_nano_usd if usd is None else _unlimited(usd),
        open_executions=old.open_executions if opened is None else _default(opened),
        running_executions=old.running_executions if running is None else _default(running),
    )
    await set_limits(conn, user_id, limits)
    detail = {"from": _limits_json(old), "to": _limits_json(limits)}
    await record(conn, arguments.actor, "users set-limits", user_id, detail)
    return {"userId": user_id, **_limits_json(limits)}


async def _set_disabled(conn: Connection, _box: Sealer, arguments: Arguments) -> object:
    if not await set_disabled(conn, UserId(arguments.user), disabled=arguments.disabled):
        raise LookupError(f"no user {arguments.user}")
    action = "users disable" if arguments.disabled else "users enable"
    await record(conn, arguments.actor, action, arguments.user, {})
    return {"userId": arguments.user, "disabled": arguments.disabled}


def _limits_json(limits: UserLimits) -> dict[str, Any]:
    money = limits.monthly_nano_usd
    return {
        "monthlyVideos": limits.monthly_videos,
        "monthlyUsd": None if money is None else usd_text(money),
        "openExecutions": DEFAULT if limits.open_executions is None else limits.open_executions,
        "runningExecutions": DEFAULT
        if limits.running_executions is None
        else limits.running_executions,
    }


def _unlimited(given: int | str | None) -> Any:
    return None if given == NO_LIMIT else given


def _default(given: int | str) -> Any:
    return None if given == DEFAULT else given


def _plain(value: object) -> str:
    if not isinstance(value, datetime):
        return str(value)  # a date
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _videos(text: str, instead: str = NO_LIMIT) -> int | str:
    if text == instead:
        return instead
    if not text.isdecimal() or not text.isascii() or int(text[:20]) > MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, nor {instead}")
    return int(text)


def _executions(text: str) -> int | str:
    return _videos(text, instead=DEFAULT)


def _running(text: str) -> int | str:
    number = _executions(text)
    if number == 0:
        raise argparse.ArgumentTypeError(
            "with 0 every execution would wait for ever; to stop a user: submits pause"
        )
    return number


def _usd(text: str) -> NanoUsd | str:
    if text == NO_LIMIT:
        return NO_LIMIT
    try:
        amount = nano_usd(text)
    except (ArithmeticError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an amount of US dollars, nor {NO_LIMIT}"
        ) from None
    if not 0 <= amount <= MAX_LIMIT:
        raise argparse.ArgumentTypeError(f"{text!r} is out of range")
    return amount


def _parser() -> argparse.ArgumentParser:
    settings = describe_settings(AdminProcess)
    parser = argparse.ArgumentParser(
        prog="python -m cli",
        description=__doc__,
        epilog=settings,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    nouns = parser.add_subparsers(
        title="commands",
        metavar="users | keys | jobs | submits | service | providers | secrets | ledger | audit",
        required=True,
    )
    _add_users(nouns.add_parser("users", help="make, list, limit, link, disable users"))
    add_keys(nouns.add_parser("keys", help="make, list, revoke API keys"))
    add_jobs(nouns.add_parser("jobs", help="find and close what the product cannot know by itself"))
    add_submits(nouns.add_parser("submits", help="pause and resume paid calls"))
    add_ledger(
        nouns.add_parser("ledger", help="prove the books, compare them with a provider's bill")
    )
    add_service(nouns.add_parser("service", help="what the whole service may spend in a day"))
    add_providers(nouns.add_parser("providers", help="what providers let us do, and starting anew"))
    add_secrets(
        nouns.add_parser("secrets", help="which key seals the secrets at rest, and rotating it")
    )
    add_audit(nouns.add_parser("audit", help="what was done by hand"))
    return parser


def _add_users(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    create = verbs.add_parser(
        "create", help="make a user with a first API key; prints both secrets, once"
    )
    create.add_argument("name", metavar="NAME", type=name_text)
    _add_limits(create, default=NO_LIMIT, note="default: none")
    _add_loads(create, default=DEFAULT, note=f"default: {DEFAULT}")
    add_actor(create)
    create.set_defaults(command=_create_user)
    verbs.add_parser("list", help="all users").set_defaults(command=_list_users)
    limits = verbs.add_parser("set-limits", help="change a user's limits")
    limits.add_argument("user", metavar="USER", help="user id (usr_…)")
    _add_limits(limits, default=None, note="default: as it is")
    _add_loads(limits, default=None, note="default: as it is")
    add_actor(limits)
    limits.set_defaults(command=_set_limits)
    add_set_webhook(verbs)
    add_identities(verbs)
    for verb, disabled in (("disable", True), ("enable", False)):
        command = verbs.add_parser(
            verb, help=f"{'refuse' if disabled else 'accept'} this user's API keys and tokens"
        )
        command.add_argument("user", metavar="USER", help="user id (usr_…)")
        add_actor(command)
        command.set_defaults(command=_set_disabled, disabled=disabled)


def _add_limits(parser: argparse.ArgumentParser, *, default: str | None, note: str) -> None:
    parser.add_argument(
        "--monthly-videos",
        metavar="N",
        type=_videos,
        default=default,
        help=f"videos a month, or none; {note}",
    )
    parser.add_argument(
        "--monthly-usd",
        metavar="X",
        type=_usd,
        default=default,
        help=f"US dollars a month, or none; {note}",
    )


def _add_loads(parser: argparse.ArgumentParser, *, default: str | None, note: str) -> None:
    settings = f"or {DEFAULT} (what the settings say)"
    parser.add_argument(
        "--open-executions",
        metavar="N",
        type=_executions,
        default=default,
        help=f"executions that have not ended, at most: more are refused; {settings}; {note}",
    )
    parser.add_argument(
        "--running-executions",
        metavar="N",
        type=_running,
        default=default,
        help=f"executions that run at once, at most: more wait; {settings}; {note}",
    )


async def _run(settings: AdminProcess, arguments: Arguments) -> object:
    box = Sealer(settings.encryption_key_bytes())
    on_database: DatabaseCommand | None = getattr(arguments, "on_database", None)
    async with Database.open(
        settings.database_url.get_secret_value(), max_connections=1
    ) as database:
        if on_database is not None:
            return await on_database(database, box, arguments)
        command: Command = arguments.command
        async with (
            database.reading_all()
            if getattr(arguments, "snapshot", False)
            else database.as_system() as conn
        ):
            return await command(conn, box, arguments)


def parse(given: list[str] | None = None) -> Arguments:
    """The command line, checked. None: this process' own."""
    return _parser().parse_args(given)


async def answer(settings: AdminProcess, arguments: Arguments) -> tuple[int, str, bool]:
    """Carry the command out. Its exit code, and what it says: its result, or (False) a line of why
    there is none.
    """
    if getattr(arguments, "actor", "") is None:
        arguments.actor = default_actor()
    try:
        done = await _run(settings, arguments)
    except LookupError as error:
        return 1, str(error.args[0]), False
    except RefusedError as error:
        return 2, str(error), False
    except asyncpg.UndefinedTableError:
        return 1, "the database has no tables yet: run python -m core.store.migrate", False
    except (*DATABASE_DOWN, asyncpg.PostgresError) as error:
        return 1, f"the database cannot be used: {error or type(error).__name__}", False
    if isinstance(done, Told):
        return done.code, done.text, True
    return 0, json.dumps(done, indent=2, ensure_ascii=False, default=_plain), True


def main() -> int:
    arguments = parse()
    settings = load(AdminProcess)
    # Its result is what it says: a log line beside it only where somebody asked for them.
    level = settings.log_level if "log_level" in settings.model_fields_set else "CRITICAL"
    configure_logging(level, settings.log_format, secrets=secret_values(settings))
    code, text, is_result = asyncio.run(answer(settings, arguments))
    if is_result:
        print(text)
    else:
        print(text.splitlines()[0], file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
