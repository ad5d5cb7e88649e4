"""`takeone-admin submits`: pausing and resuming paid calls."""

from typing import Annotated, Any

import typer

from cli.options import Actor, AsJson, DryRun, Note, plain_text
from cli.output import Shown, show, show_change
from cli.session import MustRecoverError, transaction
from core.domain.ids import UserId
from core.store.accounts.audit import record
from core.store.accounts.users import lock_limits
from core.store.database import Connection
from core.store.jobs.submit_pauses import (
    ALL,
    list_pauses,
    model_scope,
    pause,
    provider_scope,
    resume,
    user_scope,
)
from core.store.operator import RefusedError
from core.store.recovery.restore_marker import DATABASE_BEHIND, get_position

HAS_PROVIDER = "SELECT EXISTS (SELECT FROM steps WHERE provider = $1)"
HAS_MODEL = "SELECT EXISTS (SELECT FROM steps WHERE model = $1)"

app = typer.Typer(help="Pause and resume paid calls.", no_args_is_help=True)

Provider = Annotated[
    str | None,
    typer.Option(
        "--provider", metavar="NAME", parser=plain_text, help="Only calls to this provider."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="NAME", parser=plain_text, help="Only calls of this model, by its id."
    ),
]
User = Annotated[
    str | None,
    typer.Option("--user", metavar="USER", help="Only calls for this user (usr_…)."),
]


@app.command(
    "pause", epilog='Example: takeone-admin submits pause --provider NAME --reason "outage"'
)
async def pause_submits(
    context: typer.Context,
    *,
    provider: Provider = None,
    model: Model = None,
    user: User = None,
    reason: Annotated[
        str,
        typer.Option(
            "--reason", metavar="TEXT", parser=plain_text, help="Shown by `submits show`."
        ),
    ],
    yes: Annotated[
        bool, typer.Option("--yes", help="Also pause a provider or a model that was never used.")
    ] = False,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Start no paid call from now on. Calls that were sent continue.

    Without --provider, --model and --user, the pause applies to all calls.
    """
    _refuse_several(provider, model, user)
    async with transaction(context, dry_run=dry_run) as conn:
        if not yes:
            await _refuse_unused(conn, provider, model)
        scope = await _scope(conn, provider, model, user)
        changed = await pause(conn, scope, reason)
        if changed:
            await record(conn, actor, "submits pause", scope, {"reason": reason})
        report = {"scope": scope, "changed": changed, "paused": await pauses_json(conn)}
    return show_change(report, as_json, dry_run=dry_run)


@app.command("resume")
async def resume_submits(
    context: typer.Context,
    *,
    provider: Provider = None,
    model: Model = None,
    user: User = None,
    note: Note = None,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """End the pause with the same scope."""
    _refuse_several(provider, model, user)
    async with transaction(context, dry_run=dry_run) as conn:
        scope = await _scope(conn, provider, model, user)
        reasons = {entry.scope: entry.reason for entry in await list_pauses(conn)}
        own = reasons.get(scope) not in (None, DATABASE_BEHIND)
        if scope == ALL and not own and (await get_position(conn)).behind:
            raise MustRecoverError(
                "the database was restored from an older backup:"
                " only `takeone-admin recover` ends this pause"
            )
        changed = await resume(conn, scope)
        if changed:
            detail = {"reasonOfThePause": reasons.get(scope), "note": note}
            await record(conn, actor, "submits resume", scope, detail)
        report = {"scope": scope, "changed": changed, "paused": await pauses_json(conn)}
    return show_change(report, as_json, dry_run=dry_run)


@app.command("show")
async def show_pauses(context: typer.Context, *, as_json: AsJson = False) -> Shown:
    """Show what is paused, and why."""
    async with transaction(context) as conn:
        return show(await pauses_json(conn), as_json)


def _refuse_several(*scopes: str | None) -> None:
    if sum(scope is not None for scope in scopes) > 1:
        raise RefusedError(
            "--provider, --model and --user cannot be combined: pause one after the other"
        )


async def _refuse_unused(conn: Connection, provider: str | None, model: str | None) -> None:
    if provider is not None and not await conn.fetchval(HAS_PROVIDER, provider):
        raise RefusedError(f"no step has ever used a provider {provider}: confirm with --yes")
    if model is not None and not await conn.fetchval(HAS_MODEL, model):
        raise RefusedError(f"no step has ever used a model {model}: confirm with --yes")


async def _scope(
    conn: Connection, provider: str | None, model: str | None, user: str | None
) -> str:
    if provider is not None:
        return provider_scope(provider)
    if model is not None:
        return model_scope(model)
    if user is None:
        return ALL
    await lock_limits(conn, UserId(user))  # raises LookupError for an unknown user
    return user_scope(UserId(user))


async def pauses_json(conn: Connection) -> list[dict[str, Any]]:
    """Return all pauses with their reasons."""
    return [
        {"scope": entry.scope, "reason": entry.reason, "since": entry.created_at}
        for entry in await list_pauses(conn)
    ]
