"""Usage: money and videos of a month."""

from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Command, pass_app

if TYPE_CHECKING:
    from takeone.models import MonthUsage


@click.command(cls=Command)
@click.option("--month", metavar="YYYY-MM", help="Default: the present month (UTC).")
@click.option("--by", type=click.Choice(["day", "model"]), help="Add a table by day or model.")
@pass_app
def usage(app: App, month: str | None, by: str | None) -> None:
    """Show money and videos used in a month."""
    used = app.client.usage.get(month)
    app.show(used, lambda: _show_usage(used, by))


def _show_usage(used: "MonthUsage", by: str | None) -> None:
    if by == "day":
        output.table(
            ("day", "held", "settled", "videos"),
            [
                (each.date, output.usd(each.held), output.usd(each.settled), each.videos_settled)
                for each in used.by_day
            ],
        )
    elif by == "model":
        output.table(
            ("model", "provider", "jobs", "held", "settled"),
            [
                (
                    each.model,
                    each.provider,
                    each.jobs,
                    output.usd(each.held),
                    output.usd(each.settled),
                )
                for each in used.by_model
            ],
        )
    else:
        output.facts(
            {
                "month": used.month,
                "settled": output.usd(used.usd.settled),
                "held": output.usd(used.usd.held),
                "limit": output.usd(used.usd.limit) or "none",
                "left": output.usd(used.usd.left),
                "videos": used.videos.settled,
                "videos in progress": used.videos.held,
                "videos left": used.videos.left,
                "resets": output.when(used.resets_at),
            }
        )
