"""Plans: run a plan or a template with values, and import plans of Synthome."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

import click

from takeone.cli._core import output, values
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError
from takeone.cli._core.ordering import order_options, place, split

if TYPE_CHECKING:
    from takeone import Takeone
    from takeone.models import ImportedPlan

BODY: Final = ("plan", "values", "maxCost", "webhook", "metadata")
FILES: Final = ("image", "video", "audio")


@click.command(cls=Command)
@click.argument("file", required=False)
@click.option("--template", metavar="ID", help="Run a stored template instead of a file.")
@click.option(
    "--value", "chosen", multiple=True, metavar="NAME=VALUE",
    help="The value of a variable; of a file: a path, an address or an asset.",
)  # fmt: skip
@order_options
@pass_app
def run(
    app: App, file: str | None, template: str | None, chosen: tuple[str, ...], **options: Any
) -> None:
    """Order a plan of several steps.

    FILE has the plan, or a body of POST /api/executions, as JSON; `-` is standard input.
    """
    if (file is None) == (template is None):
        raise click.UsageError("Give either a FILE or --template.")
    client = app.client
    ordering, _ = split(options)
    body = _body(file) if file else {"plan": client.templates.get(template or "").plan}
    plan = cast("dict[str, Any]", body["plan"])
    of_file = cast("Mapping[str, object]", body.get("values") or {})
    all_values = {**of_file, **_values(client, plan, chosen)}
    fields: dict[str, Any] = {"plan": plan} if file else {"template": template}
    fields["values"] = all_values or None
    outer = {name: value for name, value in ordering.fields().items() if value is not None}
    extras: dict[str, Any] = {"max_cost": body.get("maxCost"), **_kept(body), **outer}
    place(
        app,
        ordering,
        lambda: client.quotes.plan(**fields),
        lambda key: client.executions.create(idempotency_key=key, **fields, **extras),
    )


def _kept(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body.get(name) for name in ("webhook", "metadata")}


def _body(file: str) -> dict[str, Any]:
    """Return the body of an order from a file, which may have the plan alone."""
    document = values.json_object(values.content(file), file)
    if "steps" in document:
        return {"plan": document}
    unknown = sorted(document.keys() - set(BODY))
    if unknown or not isinstance(document.get("plan"), dict):
        problem = f"has the unknown members {', '.join(unknown)}" if unknown else "has no plan"
        raise StopError(
            Exit.USAGE,
            f"{file} {problem}. Allowed: a plan (version, steps, ...), or an object with "
            f"{', '.join(BODY)}.",
        )
    return document


def _values(client: "Takeone", plan: Mapping[str, Any], texts: Sequence[str]) -> dict[str, object]:
    """Return values of variables in the types that the plan declares."""
    declared: dict[str, Any] = plan.get("variables") or {}
    result: dict[str, object] = {}
    for name, text in values.pairs(texts, "--value").items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            raise StopError(
                Exit.USAGE, f"The plan has no variable {name!r}. Its variables: {known}."
            )
        result[name] = _value(client, name, str(declared[name].get("type")), text)
    return result


def _value(client: "Takeone", name: str, kind: str, text: str) -> object:
    try:
        match kind:
            case "number":
                return float(text) if "." in text or "e" in text.lower() else int(text)
            case "integer":
                return int(text)
            case "boolean":
                return {"true": True, "false": False}[text]
            case _:
                return values.media(client, text) if kind in FILES else text
    except (ValueError, KeyError) as error:
        allowed = "true or false" if kind == "boolean" else f"a value of the type {kind}"
        raise StopError(Exit.USAGE, f"--value {name} must be {allowed}; it is {text!r}.") from error


@click.command("import", cls=Command)
@click.argument("file")
@click.option(
    "--model", "models", multiple=True, metavar="OLD=NEW",
    help="A model of this service for a model of the plan; may be repeated.",
)  # fmt: skip
@pass_app
def import_(app: App, file: str, models: tuple[str, ...]) -> None:
    """Convert a plan of the Synthome SDK.

    The plan for `takeone run` is printed; on standard error, what was changed.
    """
    document = values.json_object(values.content(file), file)
    imported = app.client.plans.import_synthome(document, values.pairs(models, "--model") or None)
    app.show(imported, lambda: _show_import(imported))


def _show_import(imported: "ImportedPlan") -> None:
    for note in imported.notes:
        output.note(f"{note.pointer}: {note.detail}")
    output.document(imported.plan)
