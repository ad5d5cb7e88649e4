"""`takeone-admin console` and `console-link`: the operator's console in a browser."""

from typing import Annotated, Final

import typer

from cli.console.links import new_link
from cli.options import Actor
from cli.output import Shown
from cli.session import session_of
from core.platform.observability.logging import configure_logging
from core.platform.settings.load import load, secret_values
from core.platform.settings.processes import OperatorConsoleProcess

HOST: Final = "127.0.0.1"
PORT: Final = 8081

Port = Annotated[
    int,
    typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port; 0: any free one."),
]


async def console(
    *,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="A loopback address.")
    ] = HOST,
    port: Port = PORT,
    actor: Actor,
) -> Shown:
    """Serve the operator's console on this machine, and print a link that opens it once.

    It shows what the other commands show, and runs them after a dry run and a confirmation. It
    listens on loopback only; from another machine, use an SSH tunnel. It ends with Ctrl-C.
    """
    # Other commands start without the web server, which itself runs the commands of this program.
    from cli.console.server import run_console  # noqa: PLC0415

    settings = load(OperatorConsoleProcess)
    configure_logging(settings.log_level, settings.log_format, secrets=secret_values(settings))
    await run_console(settings, host, port, actor)
    return Shown("")


async def console_link(
    context: typer.Context,
    *,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=1, max=65535, help="Of the console.")
    ] = PORT,
    actor: Actor,
) -> Shown:
    """Print another link of a running console. It works once, within 15 minutes.

    --actor is the operator whom the audit log names for what is done with it.
    """
    return Shown(new_link(session_of(context).sealer, f"http://{HOST}:{port}", actor))
