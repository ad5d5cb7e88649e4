"""Endpoints: addresses that receive webhooks."""

from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Group, pass_app

if TYPE_CHECKING:
    from takeone._calls.bodies import Rotation
    from takeone.models import Endpoint, RotatedSecret


@click.group(cls=Group)
def endpoints() -> None:
    """Manage endpoints: addresses that receive webhooks."""


@endpoints.command("list")
@pass_app
def list_(app: App) -> None:
    """List endpoints, newest first."""
    app.show_list(
        list(app.client.endpoints.list()),
        ("id", "url", "state", "default", "last success", "failing since"),
        lambda each: (
            each.id,
            each.url,
            each.state,
            each.default,
            output.when(each.last_success_at),
            output.when(each.failing_since),
        ),
    )


@endpoints.command()
@click.argument("url")
@click.option("--description", default="", metavar="TEXT", help="A text for people.")
@click.option("--default", is_flag=True, help="Use it for orders that name no webhook.")
@pass_app
def add(app: App, url: str, description: str, default: bool) -> None:
    """Add an endpoint."""
    _print(app, app.client.endpoints.create(url=url, description=description, default=default))


def _print(app: App, endpoint: "Endpoint") -> None:
    app.show(endpoint, lambda: output.say(f"{endpoint.id} {endpoint.state}"))


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@pass_app
def test(app: App, endpoint_id: str) -> None:
    """Send a webhook of the type `endpoint.test`."""
    webhook = app.client.endpoints.test(endpoint_id)
    app.show(webhook, lambda: output.say(webhook.id))


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@click.option(
    "--overlap-hours",
    type=click.IntRange(0),
    metavar="HOURS",
    help="How long the previous secret also signs.",
)
@pass_app
def rotate(app: App, endpoint_id: str, overlap_hours: int | None) -> None:
    """Replace the secret of an endpoint. The new one is printed once, on standard output."""
    change: Rotation = {} if overlap_hours is None else {"overlap_hours": overlap_hours}
    rotated = app.client.endpoints.rotate_secret(endpoint_id, **change)
    app.show(rotated, lambda: _show_secret(rotated))


def _show_secret(rotated: "RotatedSecret") -> None:
    output.say(rotated.secret)
    if rotated.previous_until:
        output.note(f"The previous secret also signs until {output.when(rotated.previous_until)}")


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@pass_app
def enable(app: App, endpoint_id: str) -> None:
    """Enable an endpoint. Repeating is safe."""
    _print(app, app.client.endpoints.enable(endpoint_id))


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@pass_app
def disable(app: App, endpoint_id: str) -> None:
    """Disable an endpoint. Repeating is safe."""
    _print(app, app.client.endpoints.disable(endpoint_id))


@endpoints.command()
@click.argument("endpoint_id", metavar="ID")
@pass_app
def delete(app: App, endpoint_id: str) -> None:
    """Delete an endpoint; its delivery log stays."""
    app.client.endpoints.delete(endpoint_id)
    app.show({"deleted": endpoint_id}, lambda: output.note(f"Deleted {endpoint_id}"))
