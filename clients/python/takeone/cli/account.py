"""The account: models, usage and API keys."""

from typing import TYPE_CHECKING

import click

from takeone.cli._core import output, profiles
from takeone.cli._core.app import App, Command, Group, pass_app

if TYPE_CHECKING:
    from takeone._calls.bodies import NewKeyOptions, NewSpendLimit
    from takeone.models import MonthUsage, NewKey, OfferedModel


@click.command(cls=Command)
@click.option("--kind", metavar="KIND", help="Only this kind, for example video or image.")
@pass_app
def models(app: App, kind: str | None) -> None:
    """List models with their prices, of each kind the default first."""
    offered = [each for each in app.client.models.list() if kind in (None, each.kind)]
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


@click.group(cls=Group)
def keys() -> None:
    """List, create, limit and revoke API keys."""


@keys.command("list")
@pass_app
def list_(app: App) -> None:
    """List API keys, without their secrets."""
    app.show_list(
        list(app.client.keys.list()),
        ("id", "name", "prefix", "scopes", "left this month", "created", "last used", "revoked"),
        lambda each: (
            each.id,
            each.name,
            each.prefix,
            each.scopes,
            output.usd(each.spending.month.left),
            output.when(each.created_at),
            output.when(each.last_used_at),
            output.when(each.revoked_at),
        ),
    )


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="read, generate or admin; may be repeated. Default: read and generate.",
)
@click.option("--expires-days", type=click.IntRange(1), metavar="DAYS", help="Default: never.")
@click.option("--daily-limit", metavar="USD", help="What orders with it may cost per day (UTC).")
@click.option("--monthly-limit", metavar="USD", help="The same per month (UTC).")
@pass_app
def create(
    app: App,
    name: str,
    scopes: tuple[str, ...],
    expires_days: int | None,
    daily_limit: str | None,
    monthly_limit: str | None,
) -> None:
    """Create an API key. It is printed once, on standard output."""
    fields: NewKeyOptions = {"name": name, "expires_days": expires_days}
    if scopes:
        fields["scopes"] = list(scopes)
    if daily_limit or monthly_limit:
        fields["spend_limit"] = _limit(daily_limit, monthly_limit)
    key = app.client.keys.create(**fields)
    app.show(key, lambda: _show_key(key))


def _limit(daily: str | None, monthly: str | None) -> "NewSpendLimit":
    return {
        "daily": profiles.amount(daily, "--daily-limit") if daily else None,
        "monthly": profiles.amount(monthly, "--monthly-limit") if monthly else None,
    }


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--daily-limit", metavar="USD", help="What orders with it may cost per day (UTC).")
@click.option("--monthly-limit", metavar="USD", help="The same per month (UTC).")
@pass_app
def limit(app: App, key_id: str, daily_limit: str | None, monthly_limit: str | None) -> None:
    """Replace the spend limits of an API key; a limit that is not given is removed."""
    chosen = _limit(daily_limit, monthly_limit) if daily_limit or monthly_limit else None
    key = app.client.keys.set_spend_limit(key_id, chosen)
    app.show(
        key,
        lambda: output.facts(
            {
                "id": key.id,
                "left today": output.usd(key.spending.day.left) or "no limit",
                "left this month": output.usd(key.spending.month.left) or "no limit",
            }
        ),
    )


def _show_key(key: "NewKey") -> None:
    click.echo(key.api_key)
    output.note(f"Created {key.id} with the scopes {', '.join(key.scopes)}. Store the key now.")


@keys.command()
@click.argument("key_id", metavar="ID")
@pass_app
def revoke(app: App, key_id: str) -> None:
    """Revoke an API key. Repeating is safe."""
    app.client.keys.revoke(key_id)
    app.show({"revoked": key_id}, lambda: output.note(f"Revoked {key_id}"))
