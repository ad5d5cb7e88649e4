"""Webhooks: the delivery log, resending, and receiving them on this machine."""

from itertools import islice
from typing import TYPE_CHECKING

import click

from takeone.cli._core import output
from takeone.cli._core.app import App, Group, pass_app
from takeone.cli.webhooks.listening import listen

if TYPE_CHECKING:
    from takeone.models import LoggedWebhook, WebhookDetail

PAGE = 100


@click.group(cls=Group)
def webhooks() -> None:
    """List, show, resend and receive webhooks."""


webhooks.add_command(listen)


@webhooks.command("list")
@click.option("--execution", "execution_id", metavar="ID", help="Only of this execution.")
@click.option("--endpoint", "endpoint_id", metavar="ID", help="Only for this endpoint.")
@click.option("--state", metavar="STATE", help="Only in this state, for example failed.")
@click.option("--type", "kind", metavar="TYPE", help="Only of this type.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many at most."
)
@pass_app
def list_(
    app: App,
    execution_id: str | None,
    endpoint_id: str | None,
    state: str | None,
    kind: str | None,
    limit: int,
) -> None:
    """List webhooks, newest first."""
    iterator = app.client.webhooks.list(
        execution_id=execution_id,
        endpoint_id=endpoint_id,
        state=state,
        type=kind,
        limit=min(limit, PAGE),
    )
    app.show_list(
        list(islice(iterator, limit)),
        ("id", "type", "state", "execution", "attempts", "status code", "created"),
        lambda each: (
            each.id,
            each.type,
            each.state,
            each.execution_id,
            each.attempts,
            each.last_status_code,
            output.when(each.created_at),
        ),
    )


@webhooks.command()
@click.argument("event_id", metavar="ID")
@pass_app
def get(app: App, event_id: str) -> None:
    """Show a webhook with its attempts; --json has its body."""
    webhook = app.client.webhooks.get(event_id)
    app.show(webhook, lambda: _show(webhook))


def _show(webhook: "WebhookDetail") -> None:
    _facts(webhook)
    output.table(
        ("delivery", "attempt", "started", "milliseconds", "status code", "error"),
        [
            (
                each.delivery,
                each.number,
                output.when(each.started_at),
                each.duration_ms,
                each.status_code,
                each.error,
            )
            for each in webhook.attempt_log
        ],
    )


def _facts(webhook: "LoggedWebhook") -> None:
    output.facts(
        {
            "id": webhook.id,
            "type": webhook.type,
            "state": webhook.state,
            "execution": webhook.execution_id,
            "url": webhook.url,
            "attempts": webhook.attempts,
            "last error": webhook.last_error,
            "created": output.when(webhook.created_at),
        }
    )


@webhooks.command()
@click.argument("event_id", metavar="ID")
@pass_app
def resend(app: App, event_id: str) -> None:
    """Send a webhook again, with the same id and body."""
    webhook = app.client.webhooks.resend(event_id)
    app.show(webhook, lambda: output.say(f"{webhook.id} {webhook.state}"))
