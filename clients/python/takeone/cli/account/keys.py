"""API keys: list, create, limit and revoke."""

from typing import TYPE_CHECKING

import click

from takeone.cli._core import output, values
from takeone.cli._core.app import App, Group, pass_app

if TYPE_CHECKING:
    from takeone._calls.bodies import NewKeyOptions, NewSpendLimit
    from takeone.models import Key, NewKey


@click.group(cls=Group)
def keys() -> None:
    """List, create, limit and revoke API keys."""


@keys.command("list")
@pass_app
def list_(app: App) -> None:
    """List API keys, without their secrets."""
    app.show_list(
        list(app.client.keys.list()),
        ("id", "name", "prefix", "scopes", "may spend", "created", "last used", "revoked"),
        lambda each: (
            each.id,
            each.name,
            each.prefix,
            each.scopes,
            _left(each),
            output.when(each.created_at),
            output.when(each.last_used_at),
            output.when(each.revoked_at),
        ),
    )


def _left(key: "Key") -> str:
    """Return what a key may still spend; nothing for a key without a limit."""
    periods = (("today", key.spending.day.left), ("this month", key.spending.month.left))
    return ", ".join(f"{output.usd(left)} {when}" for when, left in periods if left is not None)


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
        "daily": values.amount(daily, "--daily-limit") if daily else None,
        "monthly": values.amount(monthly, "--monthly-limit") if monthly else None,
    }


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--daily-limit", metavar="USD", help="What orders with it may cost per day (UTC).")
@click.option("--monthly-limit", metavar="USD", help="The same per month (UTC).")
@pass_app
def limit(app: App, key_id: str, daily_limit: str | None, monthly_limit: str | None) -> None:
    """Replace the spend limits of an API key.

    A limit that is not given is removed.
    """
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
    output.say(key.api_key)
    output.note(f"Created {key.id} with the scopes {', '.join(key.scopes)}. Store the key now.")


@keys.command()
@click.argument("key_id", metavar="ID")
@pass_app
def revoke(app: App, key_id: str) -> None:
    """Revoke an API key. Repeating is safe."""
    app.client.keys.revoke(key_id)
    app.show({"revoked": key_id}, lambda: output.note(f"Revoked {key_id}"))
