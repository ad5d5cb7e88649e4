"""`takeone-admin providers`: the capacity and the circuit breaker of each provider."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.options import Actor, AsJson, DryRun, Note, plain_text
from cli.output import Shown, show, show_change
from cli.session import transaction
from core.store.accounts.audit import record
from core.store.operator import camel
from core.store.providers.capacity import ProviderState, list_states, reset

COLUMNS = (
    "provider",
    "accepts",
    "inFlight",
    "waiting",
    "quietUntil",
    "trippedAt",
    "trippedCode",
    "trips",
    "probeAt",
)

app = typer.Typer(help="Show and reset the state of providers.", no_args_is_help=True)


@app.command("show")
async def show_states(context: typer.Context, *, as_json: AsJson = False) -> Shown:
    """Show calls in flight, capacity and the circuit breaker of each provider."""
    async with transaction(context) as conn:
        rows = [state_json(state) for state in await list_states(conn)]
    return show(rows, as_json, columns=COLUMNS)


@app.command("reset", epilog='Example: takeone-admin providers reset NAME --note "invoice paid"')
async def reset_state(
    context: typer.Context,
    provider: Annotated[
        str,
        typer.Argument(
            metavar="PROVIDER", parser=plain_text, help="The name that `providers show` prints."
        ),
    ],
    *,
    note: Note = None,
    dry_run: DryRun = False,
    actor: Actor,
    as_json: AsJson = False,
) -> Shown:
    """Close the circuit breaker of a provider and end its pause."""
    async with transaction(context, dry_run=dry_run) as conn:
        state = await reset(conn, provider)
        if state is not None:
            detail = {
                "trippedCode": state["tripped_code"],
                "quietUntil": str(state["quiet_until"]) if state["quiet_until"] else None,
                "note": note,
            }
            await record(conn, actor, "providers reset", provider, detail)
    report = {"provider": provider, "changed": state is not None}
    return show_change(report, as_json, dry_run=dry_run)


def state_json(state: ProviderState) -> dict[str, Any]:
    """Return the state of a provider key. accepts: its circuit breaker is closed."""
    plain: dict[str, Any] = {camel(name): value for name, value in asdict(state).items()}
    return {"provider": plain.pop("provider"), "accepts": state.tripped_at is None, **plain}
