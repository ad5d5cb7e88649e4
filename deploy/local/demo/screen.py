"""The demo's terminal output: progress, costs and next steps."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local.config import Config
from deploy.local.demo.client import Execution

LINE_WIDTH = 120
BAR_WIDTH = 20
"""Width at which the line with the progress bar fits into 80 columns."""
LINE_EVERY_PERCENT = 10

Update = Callable[[Execution], None]


def make_console() -> Console:
    """Return a console that never breaks an address over two lines."""
    plain = Console(highlight=False)
    return plain if plain.is_terminal else Console(highlight=False, width=LINE_WIDTH, no_color=True)


@contextmanager
def progress_of(console: Console) -> Generator[Update]:
    """Show the progress of one execution."""
    if console.is_terminal:
        with _bar(console) as update:
            yield update
    else:
        yield _lines(console)


def _lines(console: Console) -> Update:
    """Print a line for each new step and for each further tenth of the progress."""
    printed: tuple[str, int] | None = None

    def update(execution: Execution) -> None:
        nonlocal printed
        steps = doing(execution)
        if (
            printed is not None
            and printed[0] == steps
            and execution.progress < printed[1] + LINE_EVERY_PERCENT
        ):
            return
        printed = steps, execution.progress
        line = f"{execution.progress:3d} %  {steps}  spent ${execution.cost.settled}"
        console.print(line, soft_wrap=True)

    return update


@contextmanager
def _bar(console: Console) -> Generator[Update]:
    columns = (
        BarColumn(bar_width=BAR_WIDTH),
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
    """Return the status with the steps: the completed ones, then the running one."""
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


def show_next_steps(console: Console, config: Config, api_key: str, link: str) -> None:
    """Print what to try: a request of your own, the console, the Web UI, and the tests.

    link: of the web console, logged in once.
    """
    if console.is_terminal:
        console.print("\n[bold]Try next[/bold] (in a second terminal; Ctrl-C here stops Takeone)")
    else:
        console.print("\nTry next (start Takeone again with: make up)")
    for line in (
        "  1. Watch it, play it and see what it cost in the web console:",
        f"       {link}",
        "       The link logs in once, within 15 minutes. Afterwards log in with the key below.",
        "  2. Make a video of your own:",
        f"       KEY={api_key}",
        f"       curl {config.api_url}/api/generate-video \\",
        '         -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\',
        """         -d '{"prompt": "A lighthouse in a storm"}'""",
        f"       API page: {config.api_url}/docs",
        "  3. See each call of it in the Temporal Web UI:",
        f"       {config.temporal_ui_url}",
        "  4. Kill servers in the middle of a video and check that nothing is paid twice:",
        "       make test        then read: docs/tutorial/first-video.md",
    ):
        console.print(line, soft_wrap=True, markup=False)
