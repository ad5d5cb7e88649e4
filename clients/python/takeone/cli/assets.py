"""Assets: own files, and files of executions."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Group, pass_app

if TYPE_CHECKING:
    from takeone.models import Asset


@click.group(cls=Group)
def assets() -> None:
    """Manage own files and files of executions."""


@assets.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE|URL...")
@pass_app
def upload(app: App, files: tuple[str, ...]) -> None:
    """Upload pictures, videos or sound, also from addresses. Repeating is safe."""
    client = app.client
    stored = [
        client.assets.import_url(file)
        if file.startswith(("http://", "https://"))
        else client.assets.upload(Path(file))
        for file in files
    ]
    _print(app, stored)


def _print(app: App, stored: "list[Asset]") -> None:
    app.show_list(
        stored,
        ("id", "kind", "type", "bytes", "size", "seconds", "created"),
        lambda each: (
            each.id,
            each.kind,
            each.content_type,
            each.size,
            f"{each.width}x{each.height}" if each.width else None,
            each.duration,
            output.when(each.created_at),
        ),
    )


@assets.command("list")
@click.option("--source", type=click.Choice(["upload", "output"]), help="Only these.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most."
)
@pass_app
def list_(app: App, source: str | None, limit: int) -> None:
    """List assets, newest first."""
    iterator = app.client.assets.list(source=source, limit=min(limit, 100))
    _print(app, list(islice(iterator, limit)))


@assets.command()
@click.argument("asset_id", metavar="ID")
@pass_app
def get(app: App, asset_id: str) -> None:
    """Show an asset and an address of its file."""
    asset = app.client.assets.get(asset_id)
    address = app.client.assets.address(asset_id)
    shown = {**asset.model_dump(by_alias=True), "address": address}
    app.show(shown, lambda: output.facts(shown))


@assets.command()
@click.argument("asset_id", metavar="ID")
@click.argument("place", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@pass_app
def download(app: App, asset_id: str, place: Path) -> None:
    """Save the file of an asset, with its checksum checked."""
    app.client.assets.download(asset_id, place)
    app.show({"id": asset_id, "downloaded": str(place)}, lambda: click.echo(place))


@assets.command()
@click.argument("asset_id", metavar="ID")
@pass_app
def delete(app: App, asset_id: str) -> None:
    """Delete an upload that no open execution uses."""
    app.client.assets.delete(asset_id)
    app.show({"deleted": asset_id}, lambda: output.note(f"Deleted {asset_id}"))
