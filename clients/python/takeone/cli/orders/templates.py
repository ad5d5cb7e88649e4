"""Templates: stored plans. `takeone run --template ID` runs one."""

from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from takeone.cli._core import output, values
from takeone.cli._core.app import App, Group, pass_app

if TYPE_CHECKING:
    from takeone.models import Template


@click.group(cls=Group)
def templates() -> None:
    """List, show, create and delete templates: stored plans."""


@templates.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most.")
@pass_app
def list_(app: App, limit: int) -> None:
    """List templates, newest first."""
    app.show_list(
        list(islice(app.client.templates.list(), limit)),
        ("id", "name", "expected", "at most", "created"),
        lambda each: (
            each.id,
            each.name,
            output.usd(each.price.expected),
            output.usd(each.price.worst),
            output.when(each.created_at),
        ),
    )


@templates.command()
@click.argument("template_id", metavar="ID")
@pass_app
def get(app: App, template_id: str) -> None:
    """Show a template with its variables; --json has its plan."""
    template = app.client.templates.get(template_id)
    app.show(template, lambda: _show(template))


def _show(template: "Template") -> None:
    output.facts(
        {
            "id": template.id,
            "name": template.name,
            "price": f"{output.usd(template.price.expected)} expected, "
            f"{output.usd(template.price.worst)} at most",
            "created": output.when(template.created_at),
        }
    )
    variables: dict[str, dict[str, Any]] = template.plan.get("variables") or {}
    output.table(
        ("variable", "type", "default", "description"),
        [
            (name, each.get("type"), each.get("default"), each.get("description"))
            for name, each in variables.items()
        ],
    )


@templates.command()
@click.argument("name")
@click.argument("file")
@pass_app
def create(app: App, name: str, file: str) -> None:
    """Check, price and store the plan of a JSON file; `-` is standard input."""
    document = values.json_object(values.content(file), file)
    template = app.client.templates.create(name, document.get("plan", document))
    app.show(template, lambda: output.say(template.id))


@templates.command()
@click.argument("template_id", metavar="ID")
@pass_app
def delete(app: App, template_id: str) -> None:
    """Delete a template. Its executions continue."""
    app.client.templates.delete(template_id)
    app.show({"deleted": template_id}, lambda: output.note(f"Deleted {template_id}"))
