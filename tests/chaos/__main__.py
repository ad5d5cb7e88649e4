"""Fault injection on the real stack at named moments: `python -m tests.chaos`."""

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from random import Random, SystemRandom

from deploy.local.servers.process import LocalError
from tests.chaos.baseline.comparison import CASES as BASELINE_CASES
from tests.chaos.baseline.comparison import running_baseline
from tests.chaos.cases import ALL, Case, UnknownCaseError, by_name, families
from tests.chaos.film.positions import POSITIONS, evenly
from tests.chaos.film.run import film_chaos
from tests.chaos.planted import UnknownBugError, named, prove
from tests.chaos.random_faults import run_random_faults
from tests.chaos.report import as_markdown, as_text, conclusion, progress, table_rows
from tests.chaos.results import CaseResult
from tests.chaos.rounds import ONE_OF, Round
from tests.chaos.session import Session
from tests.chaos.testbed import Testbed, running_testbed

HELD_AT_ONCE = 24
"""Executions held in one round: the limit that two cores bring to their points before time-outs."""
HELD_AT_A_POINT = 6
ZOMBIES = 4
"""A stopped worker keeps its row locks until its time-outs, so few executions are held there."""
IN_FLIGHT = 24
"""Orders in a round whose fault affects whatever is in flight."""
ATTEMPTS = 3
"""Rounds for a case whose point was not reached, before the case is void."""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def rounds_of(
    cases: list[Case], per_case: int, held_at_once: int = HELD_AT_ONCE
) -> list[list[Case]]:
    """Divide families into rounds that hold at most as many executions as two cores can serve.

    A cut holds nothing. Faults that leave the rest of the stack running come first, so that the
    next round can begin meanwhile. A stopped worker needs the other worker to overtake it, so
    faults of APIs and connections follow it.
    """
    size = max(1, held_at_once // per_case)
    rounds: list[list[Case]] = []
    for family in families(cases):
        step = len(family) if family[0].fault == "cut" else size
        rounds += [family[at : at + step] for at in range(0, len(family), step)]
    order = list(ONE_OF)
    return sorted(
        rounds,
        key=lambda chosen: (
            order.index(chosen[0].fault) if chosen[0].fault in ONE_OF else len(order)
        ),
    )


async def run_pass(
    session: Session,
    cases: list[Case],
    per_case: int,
    *,
    in_flight: int = IN_FLIGHT,
    held_at_once: int = HELD_AT_ONCE,
    until: float | None = None,
) -> list[Round]:
    """Run every case once, each round as soon as the previous one allows it.

    The rounds are not judged yet.
    """
    rounds: list[Round] = []
    for chosen in rounds_of(cases, per_case, held_at_once):
        if until is not None and time.monotonic() > until:
            break
        most = min(per_case, ZOMBIES) if chosen[0].fault == "stop worker" else per_case
        rounds.append(await session.begin(chosen, in_flight if chosen[0].side == "none" else most))
    for one in rounds:
        await one.over()
    return rounds


async def run_cases(session: Session, cases: list[Case], trials: int) -> None:
    """Run every case until it has its trials."""

    def is_due(case: Case) -> bool:
        result = session.results.get(case.name)
        return result is None or (result.trials < trials and len(result.voids) < ATTEMPTS)

    while due := [case for case in cases if is_due(case)]:
        await session.judge(await run_pass(session, due, min(trials, HELD_AT_A_POINT)))


async def run_long(session: Session, cases: list[Case], options: argparse.Namespace) -> None:
    """Repeat all cases and the random fault mix until the time or the number of steps is reached.

    A pass is judged after its random fault mix. Cases selected by name run without the mix.
    """
    began = time.monotonic()
    until = began + 60 * (options.minutes or 24 * 60)
    wanted: float = options.until_steps or float("inf")
    number = 0
    while time.monotonic() < until and session.faults < wanted:
        number += 1
        rounds = await run_pass(session, cases, min(options.trials, HELD_AT_A_POINT), until=until)
        left = until - time.monotonic()
        if not options.case and left > options.soup_seconds / 2:
            await run_random_faults(session, min(options.soup_seconds, left))
        await session.judge(rounds)
        seconds = time.monotonic() - began
        say(f"Pass {number}: {progress(list(session.results.values()))}, {seconds:.0f} s")


async def baseline(
    testbed: Testbed, cases: list[Case], options: argparse.Namespace
) -> list[tuple[str, ...]]:
    """Run the bare Temporal workflow under those faults that apply to it."""
    if options.soup or options.no_baseline:
        return []
    async with running_baseline(testbed, say) as bare:
        chosen = [case.name for case in cases if case.name in BASELINE_CASES]
        return [outcome.row() for outcome in await bare.run(min(options.trials, 5), chosen)]


async def chaos(options: argparse.Namespace) -> int:
    began = time.monotonic()
    cases = by_name(options.case) or list(ALL)
    say(f"Seed {options.seed}. Starting two APIs, two workers, and what they stand on ...")
    async with running_testbed(say, keep=options.keep) as testbed:
        session = Session.of(testbed, Random(options.seed), say)
        say(f"Started in {time.monotonic() - began:.0f} s.")
        if options.soup:
            await run_random_faults(session, 60 * (options.minutes or 2))
        elif options.minutes or options.until_steps:
            await run_long(session, cases, options)
        else:
            await run_cases(session, cases, options.trials)
        await session.customers.close()
        held, books = (
            await session.evidence.held_in_budgets(),
            await session.evidence.ledger_findings(),
        )
        baseline_rows = await baseline(testbed, cases, options)
    results = list(session.results.values())
    rows = [*table_rows(results, session.bystanders), *baseline_rows]
    note = f"{conclusion(results)} Seed {options.seed}, {time.monotonic() - began:.0f} s."
    say(f"\n{as_text(rows)}\n\n{note}")
    if held:
        say(f"RED {held} is still held in budgets, with nothing open")
    for line in books:
        say(f"RED ledger check: {line}")
    if not books:
        say("ledger check: the ledger balances and equals the sandbox's bill, to the nano-dollar")
    for result in results:
        _explain(result)
    if options.markdown:
        options.markdown.write_text(as_markdown(rows, note), encoding="utf-8")
    red = (
        held
        or books
        or any(result.is_red for result in results)
        or any(one.is_red for one in session.bystanders)
    )
    return 1 if red or any(not result.trials for result in results) else 0


def _explain(result: CaseResult) -> None:
    for text in [
        *result.broken,
        *(finding.explain() for finding in result.findings if finding.is_red),
    ]:
        say(f"RED {result.case.name}: {text}")
    for name, count in sorted(result.fired.items()):
        say(f"spoiled reads: {name} {count}")
    if not result.trials:
        say(f"VOID {result.case.name}: {'; '.join(result.voids)}")


async def _until_stopped(options: argparse.Namespace) -> int:
    """Handle SIGTERM like Ctrl-C: the stack is stopped first."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if options.film:
        positions = evenly(POSITIONS, options.positions)
        is_well = await film_chaos(
            say, positions, options.seed, minutes=options.minutes, keep=options.keep
        )
        return 0 if is_well else 1
    return await (
        chaos(options)
        if options.planted is None
        else prove(say, named(options.planted), options.seed)
    )


def _add_film_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--film", action="store_true", help="kill at every position of a film of twelve steps"
    )
    parser.add_argument(
        "--positions",
        type=int,
        default=len(POSITIONS),
        help=f"with --film: so many positions, spread over all ({len(POSITIONS)})",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--trials", type=int, default=10, help="executions at each point (10)")
    parser.add_argument("--minutes", type=float, help="repeat all cases, or kill, for this time")
    parser.add_argument(
        "--until-steps", type=int, help="repeat until this number of paid steps met a fault"
    )
    parser.add_argument("--case", action="append", default=[], help="only this case; repeatable")
    parser.add_argument(
        "--soup",
        action="store_true",
        help="random kills, stops and cuts under load, for --minutes (2)",
    )
    parser.add_argument("--soup-seconds", type=float, default=150.0, help="after each pass (150)")
    parser.add_argument(
        "--seed", type=int, default=SystemRandom().randrange(10**6), help="repeats the same choices"
    )
    parser.add_argument("--markdown", type=Path, help="write the table there")
    parser.add_argument(
        "--keep", action="store_true", help="leave the stack's folder with its logs"
    )
    parser.add_argument(
        "--no-baseline",
        action="store_true",
        help="skip the comparison with the bare Temporal workflow",
    )
    parser.add_argument(
        "--planted",
        nargs="*",
        metavar="BUG",
        help="check that the planted bugs (all, or these) turn red",
    )
    _add_film_options(parser)
    parser.add_argument("--list", action="store_true", help="print the cases and exit")
    options = parser.parse_args()
    try:
        by_name(options.case)
        named(options.planted or [])
    except (UnknownCaseError, UnknownBugError) as error:
        parser.exit(2, f"{error}\n")
    # Each workflow imports its module again, so byte code must be stored even where that is
    # switched off.
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
