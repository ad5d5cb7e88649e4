"""`takeone-admin users`: accounts, their limits, their webhook address and their identities."""

from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlsplit

import typer

from cli.options import (
    DEFAULT,
    MAX_BIGINT,
    NONE,
    Actor,
    AsJson,
    Limit,
    UserArgument,
    changed,
    limit_usd,
    name_text,
    plain_text,
)
from cli.output import Shown, show
from cli.session import session_of, snapshot, transaction
from core.domain.ids import UserId
from core.domain.money import NanoUsd, usd_text
from core.platform.urls import webhook_url
from core.store.accounts.audit import record
from core.store.accounts.identities import link_identity, list_identities, unlink_identity
from core.store.accounts.users import (
    UserLimits,
    insert_api_key,
    insert_user,
    list_users,
    lock_limits,
    set_disabled,
    set_limits,
)
from core.store.measures.user_alarms import list_alarms
from core.store.operator import RefusedError, camel, row_json
from core.store.webhooks.endpoints import set_webhook_url

app = typer.Typer(help="Create, list, limit, link and disable users.", no_args_is_help=True)


def _videos(text: str) -> Limit:
    return Limit(None) if text == NONE else Limit(_count(text, NONE))


def _count_or_default(text: str) -> Limit:
    return Limit(None) if text == DEFAULT else Limit(_count(text, DEFAULT))


def _running_executions(text: str) -> Limit:
    limit = _count_or_default(text)
    if limit.value == 0:
        raise typer.BadParameter(
            "with 0 every execution would wait forever; use `submits pause` to stop a user"
        )
    return limit


def _count(text: str, word: str) -> int:
    if not text.isdecimal() or not text.isascii() or int(text[:20]) > MAX_BIGINT:
        raise typer.BadParameter(f"{text!r} is neither a whole number nor {word}")
    return int(text)


def _address(text: str) -> str:
    """Return the address, or an empty text for none."""
    if text == NONE:
        return ""
    try:
        return webhook_url(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None


_MONTHLY_VIDEOS = typer.Option(
    "--monthly-videos", metavar="N", parser=_videos, help="Videos per month, or none."
)
_MONTHLY_USD = typer.Option(
    "--monthly-usd", metavar="USD", parser=limit_usd, help="US dollars per month, or none."
)
_OPEN_EXECUTIONS = typer.Option(
    "--open-executions",
    metavar="N",
    parser=_count_or_default,
    help="Unfinished executions; further requests are refused. A number, or default (the setting).",
)
_RUNNING_EXECUTIONS = typer.Option(
    "--running-executions",
    metavar="N",
    parser=_running_executions,
    help="Executions that run at once; further ones wait. A number, or default (the setting).",
)
_MEDIA_SECONDS = typer.Option(
    "--media-seconds",
    metavar="N",
    parser=_count_or_default,
    help="Processor seconds of media steps per month. A number, or default (the setting).",
)
MonthlyVideos = Annotated[Limit | None, _MONTHLY_VIDEOS]
MonthlyUsd = Annotated[Limit | None, _MONTHLY_USD]
OpenExecutions = Annotated[Limit | None, _OPEN_EXECUTIONS]
RunningExecutions = Annotated[Limit | None, _RUNNING_EXECUTIONS]
MediaSeconds = Annotated[Limit | None, _MEDIA_SECONDS]
Issuer = Annotated[
    str, typer.Option("--issuer", parser=plain_text, help="The `iss` claim of the token.")
]
Subject = Annotated[
    str, typer.Option("--subject", parser=plain_text, help="The `sub` claim of the token.")
]


@app.command(epilog="Example: takeone-admin users create Ada --monthly-videos 100 --monthly-usd 50")
async def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", parser=name_text)],
    *,
    monthly_videos: MonthlyVideos = None,
    monthly_usd: MonthlyUsd = None,
    open_executions: OpenExecutions = None,
    running_executions: RunningExecutions = None,
    media_seconds: MediaSeconds = None,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Create a user with a first API key. Prints the key and the webhook secret once."""
    limits = _limits(
        UserLimits(monthly_videos=None, monthly_nano_usd=None),
        monthly_videos,
        monthly_usd,
        open_executions,
        running_executions,
        media_seconds,
    )
    async with transaction(context) as conn:
        user = await insert_user(conn, session_of(context).sealer, name, limits)
        key = await insert_api_key(conn, user.user_id, "first")
        detail = {"name": name, "keyId": key.key_id, **_limits_json(limits)}
        await record(conn, actor, "users create", user.user_id, detail)
    created = {
        "userId": user.user_id,
        "name": name,
        "apiKey": key.key.text,
        "keyId": key.key_id,
        "webhookSecret": user.webhook_secret,
        **_limits_json(limits),
    }
    return show(created, as_json)


@app.command("list")
async def list_all(context: typer.Context, *, as_json: AsJson = False) -> Shown:
    """List all users."""
    async with transaction(context) as conn:
        rows = [
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
    return show(rows, as_json)


@app.command("set-limits", epilog="Example: takeone-admin users set-limits usr_… --monthly-usd 20")
async def change_limits(
    context: typer.Context,
    user: UserArgument,
    *,
    monthly_videos: MonthlyVideos = None,
    monthly_usd: MonthlyUsd = None,
    open_executions: OpenExecutions = None,
    running_executions: RunningExecutions = None,
    media_seconds: MediaSeconds = None,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Change a user's limits. A limit that is left out stays as it is."""
    user_id = UserId(user)
    async with transaction(context) as conn:
        old = await lock_limits(conn, user_id)
        limits = _limits(
            old, monthly_videos, monthly_usd, open_executions, running_executions, media_seconds
        )
        await set_limits(conn, user_id, limits)
        detail = {"from": _limits_json(old), "to": _limits_json(limits)}
        await record(conn, actor, "users set-limits", user_id, detail)
    return show({"userId": user_id, **_limits_json(limits)}, as_json)


@app.command()
async def disable(
    context: typer.Context, user: UserArgument, *, actor: Actor, as_json: AsJson = False
) -> Shown:
    """Refuse this user's API keys and tokens."""
    return await _change_disabled(context, user, actor, as_json, disabled=True)


@app.command()
async def enable(
    context: typer.Context, user: UserArgument, *, actor: Actor, as_json: AsJson = False
) -> Shown:
    """Accept this user's API keys and tokens again."""
    return await _change_disabled(context, user, actor, as_json, disabled=False)


async def _change_disabled(
    context: typer.Context, user: str, actor: str, as_json: bool, *, disabled: bool
) -> Shown:
    async with transaction(context) as conn:
        if not await set_disabled(conn, UserId(user), disabled=disabled):
            raise LookupError(f"no user {user}")
        action = "users disable" if disabled else "users enable"
        await record(conn, actor, action, user, {})
    return show({"userId": user, "disabled": disabled}, as_json)


@app.command("set-webhook")
async def set_webhook(
    context: typer.Context,
    user: UserArgument,
    url: Annotated[
        str,
        typer.Argument(metavar="URL", parser=_address, help="An http or https address, or none."),
    ],
    *,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Set the address that receives the account's budget alerts."""
    address = url or None
    async with transaction(context) as conn:
        if not await set_webhook_url(conn, UserId(user), address):
            raise LookupError(f"no user {user}")
        # The path and the query of such an address are often its secret.
        host = None if address is None else urlsplit(address).hostname
        await record(conn, actor, "users set-webhook", user, {"host": host})
    return show({"userId": user, "webhookUrl": address}, as_json)


@app.command(epilog="Example: takeone-admin users link usr_… --issuer https://… --subject auth0|1")
async def link(
    context: typer.Context,
    user: UserArgument,
    *,
    issuer: Issuer,
    subject: Subject,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Accept the tokens of an issuer's subject as this user's."""
    async with transaction(context) as conn:
        identity = await link_identity(conn, issuer, subject, UserId(user))
        if identity.user_id != user:
            raise RefusedError(f"this subject is linked to {identity.user_id}: unlink it first")
        detail = {"issuer": identity.issuer, "subject": identity.subject}
        await record(conn, actor, "users link", identity.user_id, detail)
    return show({"userId": identity.user_id, **detail}, as_json)


@app.command()
async def unlink(
    context: typer.Context,
    *,
    issuer: Issuer,
    subject: Subject,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Refuse the tokens of an issuer's subject from now on."""
    detail = {"issuer": issuer, "subject": subject}
    async with transaction(context) as conn:
        user_id = await unlink_identity(conn, issuer, subject)
        if user_id is None:
            raise LookupError(f"no user is linked to {subject} of {issuer}")
        await record(conn, actor, "users unlink", user_id, detail)
    return show({"userId": user_id, **detail}, as_json)


@app.command(epilog="Example: takeone-admin users alarms --days 1")
async def alarms(
    context: typer.Context,
    *,
    days: Annotated[int, typer.Option("--days", min=1, max=366, help="How far to look back.")] = 7,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="The number of rows to show.")
    ] = 100,
    as_json: AsJson = False,
) -> Shown:
    """List users whose spending rose suddenly, or who reached a monthly limit; the latest first."""
    async with snapshot(context) as conn:
        rows = [
            row_json(asdict(alarm)) for alarm in await list_alarms(conn, days=days, limit=limit)
        ]
    return show(rows, as_json)


@app.command()
async def identities(
    context: typer.Context, user: UserArgument, *, as_json: AsJson = False
) -> Shown:
    """List the subjects whose tokens are accepted as this user's."""
    async with transaction(context) as conn:
        await lock_limits(conn, UserId(user))  # raises LookupError for an unknown user
        rows = [
            {camel(name): value for name, value in asdict(identity).items()}
            for identity in await list_identities(conn, UserId(user))
        ]
    return show(rows, as_json)


def _limits(
    present: UserLimits,
    monthly_videos: Limit | None,
    monthly_usd: Limit | None,
    open_executions: Limit | None,
    running_executions: Limit | None,
    media_seconds: Limit | None,
) -> UserLimits:
    usd = changed(monthly_usd, present.monthly_nano_usd)
    return UserLimits(
        monthly_videos=changed(monthly_videos, present.monthly_videos),
        monthly_nano_usd=None if usd is None else NanoUsd(usd),
        open_executions=changed(open_executions, present.open_executions),
        running_executions=changed(running_executions, present.running_executions),
        media_seconds=changed(media_seconds, present.media_seconds),
    )


def _limits_json(limits: UserLimits) -> dict[str, int | str | None]:
    money = limits.monthly_nano_usd
    opened, running = limits.open_executions, limits.running_executions
    return {
        "monthlyVideos": limits.monthly_videos,
        "monthlyUsd": None if money is None else usd_text(money),
        "openExecutions": DEFAULT if opened is None else opened,
        "runningExecutions": DEFAULT if running is None else running,
        "mediaSeconds": DEFAULT if limits.media_seconds is None else limits.media_seconds,
    }
