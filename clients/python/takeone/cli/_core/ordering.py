"""The way of an order: price, consent, acceptance, and if wished the wait and the files."""

import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from takeone.cli._core import output, values
from takeone.cli._core.app import App
from takeone.cli._core.exits import Exit, StopError, repeat_text
from takeone.cli._core.progress import board, interruptible
from takeone.cli._core.saving import open_result, save_result

if TYPE_CHECKING:
    from takeone import Accepted, Execution
    from takeone.models import ExecutionData, Quote

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.Path(file_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """The options that all orders have in common. max_cost: in US dollars."""

    quote_only: bool
    max_cost: Decimal | None
    yes: bool
    wait: bool
    timeout: float | None
    download: Path | None
    open_it: bool
    idempotency_key: str | None
    webhook: str | None
    metadata: dict[str, str]

    @property
    def waits(self) -> bool:
        return self.wait or self.open_it or self.download is not None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the order's body."""
        return {
            "max_cost": self.max_cost,
            "webhook": self.webhook,
            "metadata": self.metadata or None,
        }


WAITING = (
    click.option("--wait", "-w", is_flag=True, help="Wait for the end, with progress."),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="Stop waiting after this time; the execution continues.",
    ),
    click.option("--download", type=FOLDER, metavar="DIR", help="Wait, and save the result there."),
    click.option("--open", "open_it", is_flag=True, help="Wait, and open the result."),
)
OPTIONS = (
    click.option("--quote", "quote_only", is_flag=True, help="Show the price; order nothing."),
    click.option(
        "--max-cost", metavar="USD", help="Refuse the order if it may cost more, retries included."
    ),
    click.option("--yes", "-y", is_flag=True, help="Order without a question."),
    *WAITING,
    click.option("--webhook", metavar="URL", help="Where the result is sent."),
    click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Own data of the order."),
    click.option(
        "--idempotency-key",
        metavar="KEY",
        help="The key of an earlier call whose answer was lost: it is accepted once.",
    ),
)


def order_options(command: F) -> F:
    """Add the options that all orders have in common."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def split(options: dict[str, Any]) -> tuple[Ordering, dict[str, Any]]:
    """Return the common options of an order, and the other ones."""
    limit: str | None = options.pop("max_cost")
    common = Ordering(
        max_cost=None if limit is None else values.amount(limit, "--max-cost"),
        metadata=values.pairs(options.pop("metadata"), "--metadata"),
        **{
            name: options.pop(name)
            for name in ("quote_only", "yes", "wait", "timeout", "download", "open_it")
        },
        idempotency_key=options.pop("idempotency_key"),
        webhook=options.pop("webhook"),
    )
    return common, options


def place(
    app: App,
    ordering: Ordering,
    quote: Callable[[], "Quote"],
    send: Callable[[str], "Accepted"],
) -> None:
    """Show the price, get consent, order, and do what else was wished.

    send: orders with an idempotency key.
    """
    price = quote()
    if ordering.quote_only:
        app.show(price, lambda: show_quote(price))
        return
    show_quote(price, err=True)
    consent(app, price.worst, yes=ordering.yes, max_cost=ordering.max_cost)
    key = ordering.idempotency_key or str(uuid.uuid4())
    try:
        accepted = send(key)
    except KeyboardInterrupt:
        raise StopError(
            Exit.INTERRUPTED,
            f"Interrupted while ordering. {repeat_text(key)}",
        ) from None
    if not ordering.waits:
        app.show(accepted, lambda: output.say(accepted.id))
        output.note(f"Accepted. Its progress: takeone watch {accepted.id}")
        return
    follow(app, accepted, ordering)


def follow(app: App, accepted: "Accepted", ordering: Ordering) -> None:
    """Wait for the end of an accepted order, then save and open its result."""
    output.note(f"Accepted as {accepted.id}")
    with interruptible(accepted.id), board() as shown:
        execution = accepted.wait(ordering.timeout, on_progress=shown.show, raise_on_failure=False)
    finish(app, execution, download=ordering.download, open_it=ordering.open_it)


def finish(
    app: App, execution: "Execution", *, download: Path | None = None, open_it: bool = False
) -> None:
    """Print an execution that has ended; save and open its result."""
    saved: list[Path] = []
    if execution.status == "completed":
        saved = save_result(execution, download) if download is not None else []
        if open_it:
            open_result(execution)
    if app.json:
        shown = execution.model_dump(by_alias=True)
        output.document({**shown, "downloaded": [str(path) for path in saved]} if saved else shown)
    else:
        _show_end(execution, saved)
    if execution.status != "completed":
        raise StopError(
            Exit.FAILED, f"{execution.id} has ended: {reason(execution)}", reported=True
        )


def _show_end(execution: "Execution", saved: list[Path]) -> None:
    output.note(f"{execution.id} {execution.status}, {output.usd(execution.cost.settled)}")
    for path in saved:
        click.echo(path)
    if not saved and execution.result and execution.result.url:
        output.say(execution.result.url)


def reason(execution: "ExecutionData") -> str:
    """Return why an execution has no result."""
    error = execution.error
    return f"{error.code}: {error.message}" if error else execution.status


def show_quote(price: "Quote", *, err: bool = False) -> None:
    """Print what an order may cost: in total and for each paid step."""
    rows = [
        (job.step, job.model, job.provider, output.usd(job.expected), output.usd(job.worst))
        for job in price.jobs
        if job.worst
    ]
    if not err:
        rows.append(("total", "", "", output.usd(price.expected), output.usd(price.worst)))
    if len(rows) > 1:
        columns = ("step", "model", "provider", "expected", "at most")
        output.table(columns, rows, err=err)
    for warning in price.warnings:
        output.note(f"Warning: {warning.detail} ({warning.pointer})")
    output.note(
        f"Price: {output.usd(price.expected)} expected, {output.usd(price.worst)} at most, "
        f"about {price.eta_seconds} s"
    )


def consent(
    app: App,
    worst: Decimal,
    *,
    yes: bool,
    max_cost: Decimal | None = None,
    verb: Literal["Order", "Retry"] = "Order",
) -> None:
    """Ask before money is spent, or stop with what is needed.

    --max-cost is consent: the service refuses what may cost more.
    """
    if yes or max_cost is not None or worst == 0:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise StopError(
            Exit.MONEY,
            "Nothing was ordered: without a terminal, give --max-cost USD, or --yes.",
        )
    if worst <= app.profile.confirm_above:
        return
    if not click.confirm(f"{verb} for at most {output.usd(worst)}?", err=True):
        raise StopError(Exit.MONEY, "Nothing was ordered.")
