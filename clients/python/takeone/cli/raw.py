"""Any operation of the HTTP API."""

import click

from takeone.cli._core import output, values
from takeone.cli._core.app import App, Command, pass_app

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@click.command(cls=Command)
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("-d", "--data", metavar="JSON", help="The body; @FILE and @- read it.")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="For orders. Without it, a POST is not repeated after a lost answer.",
)
@pass_app
def api(app: App, method: str, path: str, data: str | None, idempotency_key: str | None) -> None:
    """Send any request of the HTTP API, and print its JSON.

    For example: takeone api GET "/api/executions?limit=1"
    """
    if not path.startswith("/"):
        raise click.UsageError("PATH must start with /, for example /api/usage.")
    body = None
    if data is not None:
        text = values.content(data[1:]) if data.startswith("@") else data
        body = values.json_object(text, "--data")
    output.document(app.client.request(method, path, body=body, idempotency_key=idempotency_key))
