"""`python -m tests.chaos`: kills, stops and cuts the real stack at named moments, and lets outside witnesses judge."""

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from random import Random, SystemRandom

from deploy.local.process import LocalError
from tests.chaos.arena import Arena, running_arena
from tests.chaos.baseline.beside import CASES as BASELINE_CASES
from tests.chaos.baseline.beside import beside
from tests.chaos.cases import ALL, Case, by_name, families
from tests.chaos.planted import named, prove
from tests.chaos.report import as_markdown, as_text, conclusion, table_rows
from tests.chaos.rounds import Session
from tests.chaos.soup import soup

HELD_AT_ONCE = 10
"""Executions held in one round: two cores bring so many to their points before the first one must be let go."""
ATTEMPTS = 3
"""Rounds for a case whose point was not reached, before it is void."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def rounds_of(cases: list[Case], per_case: int) -> list[list[Case]]:
    """Families cut into rounds that hold no more than two cores can bring to their points."""
    size = max(1, HELD_AT_ONCE // per_case)
    return [family[at : at + size] for family in families(cases) for at in range(0, len(family), size)]


async def run_cases(session: Session, cases: list[Case], *, trials: int, minutes: float | None) -> None:
    """Every case until it has its trials; or, given minutes, all of them round after round until the time is over."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    per_case = min(trials, 5)

    def is_due(case: Case) -> bool:
        result = session.results.get(case.name)
        if result is None:
            return True
        if until is not None:
            return True
        wanted = max(trials, 12) if case.side == "none" else trials
        return result.trials < wanted and len(result.voids) < ATTEMPTS

    while due := [case for case in cases if is_due(case)]:
        for chosen in rounds_of(due, per_case):
            if until is not None and time.monotonic() > until:
                return
            await session.round(chosen, 12 if chosen[0].side == "none" else per_case)


async def baseline(arena: Arena, cases: list[Case], options: argparse.Namespace) -> list[tuple[str, ...]]:
    """The bare Temporal workflow under those of the faults that it can meet."""
    if options.soup or options.no_baseline:
        return []
    async with beside(arena, say) as bare:
        chosen = [case.name for case in cases if case.name in BASELINE_CASES]
        return [outcome.row() for outcome in await bare.run(min(options.trials, 5), chosen)]


async def chaos(options: argparse.Namespace) -> int:
    began = time.monotonic()
    cases = by_name(options.case) if options.case else list(ALL)
    say(f"Seed {options.seed}. Starting two APIs, two workers, and what they stand on ...")
    async with running_arena(say, keep=options.keep) as arena:
        session = Session.of(arena, Random(options.seed), say)
        say(f"Started in {time.monotonic() - began:.0f} s.")
        if options.soup:
            await soup(session, 60 * (options.minutes or 2))
        else:
            await run_cases(session, cases, trials=options.trials, minutes=options.minutes)
        await session.customers.close()
        held = await session.oracle.held_in_budgets()
        baseline_rows = await baseline(arena, cases, options)
    results = list(session.results.values())
    rows = [*table_rows(results, session.bystanders), *baseline_rows]
    note = f"{conclusion(results)} Seed {options.seed}, {time.monotonic() - began:.0f} s."
    say(f"\n{as_text(rows)}\n\n{note}")
    if held:
        say(f"RED {held} is still held in budgets, with nothing open")
    for result in results:
        for text in [*result.broken, *(finding.explain() for finding in result.findings if finding.is_red)]:
            say(f"RED {result.case.name}: {text}")
        if not result.trials:
            say(f"VOID {result.case.name}: {'; '.join(result.voids)}")
    if options.markdown:
        options.markdown.write_text(as_markdown(rows, note), encoding="utf-8")
    red = held or any(result.is_red for result in results) or any(one.is_red for one in session.bystanders)
    return 1 if red or any(not result.trials for result in results) else 0


async def _until_stopped(options: argparse.Namespace) -> int:
    """SIGTERM ends it as Ctrl-C does: the stack is stopped first."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await (chaos(options) if options.planted is None else prove(say, named(options.planted), options.seed))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--trials", type=int, default=10, help="executions at each point (10)")
    parser.add_argument("--minutes", type=float, help="instead: all cases, again and again, for so long")
    parser.add_argument("--case", action="append", default=[], help="only this case; may be given again")
    parser.add_argument(
        "--soup", action="store_true", help="random kills, stops and cuts under load, for --minutes (2)"
    )
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6), help="repeats the same choices")
    parser.add_argument("--markdown", type=Path, help="write the table there")
    parser.add_argument("--keep", action="store_true", help="leave the stack's folder with its logs")
    parser.add_argument("--no-baseline", action="store_true", help="without the bare Temporal workflow beside ours")
    parser.add_argument("--planted", nargs="*", metavar="BUG", help="do the planted bugs (all, or these) turn red?")
    parser.add_argument("--list", action="store_true", help="the cases, and nothing else")
    options = parser.parse_args()
    # Each workflow imports its module anew: where byte code may not be kept, it would be compiled each time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if options.list:
        for case in ALL:
            say(f"{case.name:<28} {case.what}")
        return 0
    try:
        return asyncio.run(_until_stopped(options))
    except LocalError as error:
        say(str(error))
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        say("stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
