"""What the demo shows: a bar in a terminal, lines elsewhere; at the end what was made and what it
cost.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local.client import Execution

LINE_WIDTH = 120

Update = Callable[[Execution], None]


def make_console() -> Console:
    """Addresses are never cut or coloured to pieces, also where there is no terminal."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=LINE_WIDTH, no_color=True)


@contextmanager
def progress_of(console: Console) -> Generator[Update]:
    """Show one execution as it goes."""
    if console.is_terminal:
        with _bar(console) as update:
            yield update
    else:
        yield _lines(console)


def _lines(console: Console) -> Update:
    shown = ""

    def update(execution: Execution) -> None:
        nonlocal shown
        line = f"{execution.progress:3d} %  {doing(execution)}  spent ${execution.cost.settled}"
        if line != shown:
            console.print(line, soft_wrap=True)
        shown = line

    return update


@contextmanager
def _bar(console: Console) -> Generator[Update]:
    columns = (
        BarColumn(bar_width=40),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.description}"),
        TextColumn("spent ${task.fields[spent]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("queued", total=100, spent="0")

        def update(execution: Execution) -> None:
            progress.update(
                task,
                completed=execution.progress,
                description=doing(execution),
                spent=execution.cost.settled,
            )

        yield update


def doing(execution: Execution) -> str:
    """The status, with the names of the steps: done ones ticked, the one that runs last."""
    steps = [f"{step} done" for step in execution.completed_jobs]
    if execution.current_job is not None and not execution.has_ended:
        steps.append(f"{execution.current_job} ...")
    return f"{execution.status:<9} {', '.join(steps)}".rstrip()


def cost_table(execution: Execution) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="What it cost (USD)", title_justify="left")
    for name in ("step", "provider", "model"):
        table.add_column(name)
    for name in ("held at most", "charged"):
        table.add_column(name, justify="right")
    for job in execution.jobs:
        table.add_row(job.step, job.provider, job.model, job.cost.estimated, job.cost.settled)
    table.add_section()
    table.add_row("total", "", "", execution.cost.estimated, execution.cost.settled)
    return table
