"""Approve: decide about a step that waits."""

from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Command, pass_app

if TYPE_CHECKING:
    from takeone import Execution


@click.command(cls=Command)
@click.argument("execution_id", metavar="ID")
@click.argument("step", required=False)
@click.argument("option", required=False)
@click.option("--reject", is_flag=True, help="Choose none of the options.")
@pass_app
def approve(
    app: App, execution_id: str, step: str | None, option: str | None, reject: bool
) -> None:
    """Decide about a step that waits for an approval.

    Without STEP, the open decisions are listed, with their files and the price of the rest. OPTION
    may be left out where there is only one.
    """
    client = app.client
    if step is None:
        _list_decisions(app, client.executions.get(execution_id))
        return
    approved = client.executions.approve(execution_id, step, option, reject=reject)
    chosen = f", {approved.option}" if approved.option else ""
    app.show(
        approved,
        lambda: output.say(f"{approved.execution_id} {approved.step}: {approved.decision}{chosen}"),
    )


def _list_decisions(app: App, execution: "Execution") -> None:
    rows = [
        (waiting.step, option.step, waiting.rest.worst, file.url)
        for waiting in execution.waiting_for
        for option in waiting.options
        for file in option.assets
    ]
    app.show(
        {"data": execution.waiting_for},
        lambda: output.table(
            ("step", "option", "rest at most", "file"),
            [(step, option, output.usd(worst), url) for step, option, worst, url in rows],
        ),
    )
