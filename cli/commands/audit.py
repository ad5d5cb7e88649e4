"""`takeone-admin audit`: the log of what operators changed."""

from typing import Annotated

import typer

from cli.options import AsJson, RowLimit
from cli.output import Shown, show
from cli.session import transaction
from core.store.accounts.audit import list_audit
from core.store.operator import row_json

app = typer.Typer(help="Read the log of what operators changed.", no_args_is_help=True)


@app.command("list")
async def list_all(
    context: typer.Context,
    *,
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="ID", help="Only changes of this job, user, key or scope."
        ),
    ] = None,
    limit: RowLimit = 100,
    as_json: AsJson = False,
) -> Shown:
    """List changes, the latest first."""
    async with transaction(context) as conn:
        rows = [
            row_json(
                {
                    "at": entry.at,
                    "actor": entry.actor,
                    "action": entry.action,
                    "target": entry.target,
                    "detail": entry.detail,
                }
            )
            for entry in await list_audit(conn, target=target, limit=limit)
        ]
    return show(rows, as_json)
