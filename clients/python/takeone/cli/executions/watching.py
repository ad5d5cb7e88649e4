"""Watch executions until their end."""

from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError
from takeone.cli._core.ordering import reason
from takeone.cli._core.progress import Board, JsonLines, board, interruptible

if TYPE_CHECKING:
    from takeone import AsyncExecution


@click.command(cls=Command)
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--timeout", type=click.FloatRange(min=0), metavar="SECONDS",
    help="Stop watching after this time; the executions continue.",
)  # fmt: skip
@pass_app
def watch(app: App, ids: tuple[str, ...], timeout: float | None) -> None:
    """Show the progress of executions until all of them have ended.

    With --json, each change is one line. Ctrl-C stops watching only: the executions continue.
    """
    import asyncio

    names = list(dict.fromkeys(ids))
    with interruptible(*names):
        if app.json:
            ended = asyncio.run(_watch(app, names, timeout, JsonLines()))
        else:
            with board() as shown:
                ended = asyncio.run(_watch(app, names, timeout, shown))
    executions = [each for each in ended if not isinstance(each, BaseException)]
    if not app.json:
        output.table(
            ("id", "status", "cost", "result"),
            [
                (
                    each.id,
                    each.status,
                    output.usd(each.cost.settled),
                    each.result.url if each.result and each.result.url else reason(each),
                )
                for each in executions
            ],
        )
    _end([each for each in executions if each.status != "completed"], ended)


async def _watch(
    app: App, names: list[str], timeout: float | None, shown: Board
) -> "list[AsyncExecution | BaseException]":
    """Return each execution at its end, or the error that ended its wait."""
    import asyncio

    async with app.open_async() as client:
        return await asyncio.gather(
            *(
                client.executions.wait(
                    name, timeout, on_progress=shown.show, raise_on_failure=False
                )
                for name in names
            ),
            return_exceptions=True,
        )


def _end(failed: "list[AsyncExecution]", ended: "list[AsyncExecution | BaseException]") -> None:
    """End with the exit code of the failures, if there are some."""
    errors = [each for each in ended if isinstance(each, BaseException)]
    if failed:
        texts = [f"{each.id} has ended: {reason(each)}" for each in failed]
        raise StopError(Exit.FAILED, "\n".join([*texts, *map(str, errors)]), reported=True)
    if errors:
        for error in errors[1:]:
            output.note(str(error))
        raise errors[0]
