"""Models: what can be ordered, with prices."""

from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError

if TYPE_CHECKING:
    from takeone.models import OfferedModel


@click.command(cls=Command)
@click.option("--kind", metavar="KIND", help="Only this kind, for example video or image.")
@pass_app
def models(app: App, kind: str | None) -> None:
    """List models with their prices, of each kind the default first."""
    everything = app.client.models.list()
    offered = [each for each in everything if kind in (None, each.kind)]
    if kind and not offered:
        kinds = ", ".join(sorted({each.kind for each in everything})) or "none"
        raise StopError(Exit.USAGE, f"There is no model of the kind {kind!r}. Kinds: {kinds}.")
    app.show_list(
        offered,
        ("id", "kind", "provider", "default", "usual", "price"),
        lambda each: (
            each.id,
            each.kind,
            each.provider,
            each.default,
            f"{each.usual_seconds} s",
            _price(each),
        ),
    )


def _price(model: "OfferedModel") -> str:
    """Return the range of unit prices of a model."""
    prices = sorted(each.unit_price for each in model.prices)
    if not prices:
        return ""
    unit = model.prices[0].unit
    low, high = output.usd(prices[0]), output.usd(prices[-1])
    return f"{low} per {unit}" if low == high else f"{low} to {high} per {unit}"
