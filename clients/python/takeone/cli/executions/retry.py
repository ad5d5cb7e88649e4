"""Retry: run an execution again, and keep what is paid for."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from takeone.cli._core import output, values
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.exits import Exit, StopError, explain_call, repeat_text
from takeone.cli._core.ordering import consent

if TYPE_CHECKING:
    from takeone import Retried, Takeone
    from takeone.models import RetriedData

NOTHING = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class Request:
    """A retry as it is sent. limit: what it may cost, in US dollars; None: no limit."""

    execution_id: str
    idempotency_key: str
    limit: Decimal | None
    accepts_double_cost: bool


@click.command(cls=Command)
@click.argument("execution_id", metavar="ID")
@click.option("--yes", "-y", is_flag=True, help="Retry without a question and without a limit.")
@click.option("--max-cost", metavar="USD", help="Refuse the retry if it may cost more.")
@click.option(
    "--accept-possible-double-cost",
    "accept",
    is_flag=True,
    help="Buy a step again although an earlier purchase may still be billed.",
)
@click.option(
    "--idempotency-key", metavar="KEY", help="The key of an earlier call whose answer was lost."
)
@pass_app
def retry(
    app: App,
    execution_id: str,
    yes: bool,
    max_cost: str | None,
    accept: bool,
    idempotency_key: str | None,
) -> None:
    """Run an execution again, and keep what is paid for.

    What is kept and what has to be paid, at today's prices, comes first. The service refuses the
    retry if it may cost more than was shown. A retry that costs nothing needs no confirmation.
    """
    request = Request(
        execution_id=execution_id,
        idempotency_key=idempotency_key or str(uuid.uuid4()),
        limit=None if max_cost is None else values.amount(max_cost, "--max-cost"),
        accepts_double_cost=accept,
    )
    if idempotency_key is None:
        retried = _preview_and_send(app, request, yes=yes)
    elif request.limit is None and not yes:
        raise click.UsageError("Repeat the earlier call: give --max-cost or --yes, too.")
    else:
        retried = _send(app.client, request)
    app.show(retried, lambda: _show_retried(retried))


def _preview_and_send(app: App, request: Request, *, yes: bool) -> "Retried":
    """Retry for nothing, or show what has to be paid, get consent and retry for that.

    Only the service can decide what a retry keeps and what the rest costs today. It names both
    when it refuses a retry that may cost nothing.
    """
    from takeone.errors import CallError, MaxCostError

    try:
        return app.client.executions.retry(
            request.execution_id,
            max_cost=NOTHING,
            accept_possible_double_cost=request.accepts_double_cost,
        )
    except MaxCostError as refusal:
        cost: Mapping[str, Any] = refusal.document.get("cost") or {}
    except CallError as error:
        explained = explain_call(error)
        raise StopError(explained.code, str(error), document=explained.document) from error
    steps: Sequence[Mapping[str, str]] = cost["steps"]
    _show_kept(app.client, request.execution_id, {step["step"] for step in steps})
    for step in steps:
        price = output.usd(Decimal(step["atMost"]))
        output.note(f"To pay: {step['step']} ({step['model']}), {price} at most")
    worst = Decimal(cost["needed"])
    consent(app, worst, yes=yes, max_cost=request.limit, verb="Retry")
    bounded = worst if request.limit is None and not yes else request.limit
    return _send(app.client, replace(request, limit=bounded))


def _send(client: "Takeone", request: Request) -> "Retried":
    """Send a retry. The error of a lost answer names the options that send the same one again."""
    from takeone.errors import CallError

    same = "--yes" if request.limit is None else f"--max-cost {output.text(request.limit)}"
    try:
        return client.executions.retry(
            request.execution_id,
            max_cost=request.limit,
            accept_possible_double_cost=request.accepts_double_cost,
            idempotency_key=request.idempotency_key,
        )
    except CallError as error:
        explained = explain_call(error, same)
        raise StopError(explained.code, explained.text, document=explained.document) from error
    except KeyboardInterrupt:
        text = f"Interrupted while retrying. {repeat_text(request.idempotency_key, same)}"
        raise StopError(Exit.INTERRUPTED, text) from None


def _show_kept(client: "Takeone", execution_id: str, bought: Collection[str]) -> None:
    """Print the steps that are not bought again, with what they have cost."""
    execution = client.executions.get(execution_id)
    paid: dict[str, Decimal] = {}
    for job in execution.jobs:
        if job.step not in bought:
            paid[job.step] = paid.get(job.step, NOTHING) + job.cost.settled
    for step, settled in paid.items():
        output.note(f"Kept: {step}, {output.usd(settled)} paid")


def _show_retried(retried: "RetriedData") -> None:
    output.say(retried.id)
    kept = len(retried.kept)
    output.note(
        f"Generation {retried.generation} is queued: {kept} {'step' if kept == 1 else 'steps'} "
        f"kept, {output.usd(retried.estimated)} at most to pay. "
        f"Its progress: takeone watch {retried.id}"
    )
