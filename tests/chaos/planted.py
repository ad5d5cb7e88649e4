"""Planted bugs: each must turn its cases red in a copy of the product.

    python -m tests.chaos --planted [NAME ...]   all bugs, or these; the unchanged product runs
                                                 first and must be green

A bug is a replacement of an exact text. A text that is not in the current source exactly once is
an error: the product has changed, and the bug must be adapted.
"""

import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from deploy.local.config import ROOT
from deploy.local.servers.process import LocalError
from tests.chaos.kinds import VIDEO
from tests.chaos.planted_bugs import BUGS, Bug
from tests.chaos.planted_cases import CALM, HELD, case_of
from tests.chaos.session import Session
from tests.chaos.testbed import running_testbed

ROUNDS = 3
"""Attempts to reach the point before a case is void."""
_NOT_COPIED = shutil.ignore_patterns(".*", "var", "tests", "node_modules", "__pycache__")


class UnknownBugError(LocalError):
    """No planted bug has this name."""


class AnchorError(LocalError):
    """The text to be replaced is not in the source exactly once."""


def named(names: Sequence[str]) -> list[Bug]:
    """Return the bugs with these names, all without names.

    Raise UnknownBugError.
    """
    known = {bug.name: bug for bug in BUGS}
    if unknown := [name for name in names if name not in known]:
        raise UnknownBugError(f"no bug {unknown[0]}; known: {', '.join(known)}")
    return [known[name] for name in names] or list(BUGS)


def plant(bug: Bug, root: Path) -> None:
    """Replace the text of a bug.

    Raise AnchorError, without a change, if a text is not in its file exactly once.
    """
    for edit in bug.edits:
        path = root / edit.file
        source = path.read_text(encoding="utf-8")
        if (count := source.count(edit.old)) != 1:
            raise AnchorError(f"{bug.name}: {count} times in {edit.file}: {edit.old!r}")
        path.write_text(source.replace(edit.old, edit.new), encoding="utf-8")


@contextmanager
def copied(source: Path) -> Generator[Path]:
    """Return a temporary copy of the product's sources, including uncommitted changes."""
    folder = Path(tempfile.mkdtemp(prefix="takeone-planted-"))
    try:
        shutil.copytree(source, folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of one run on one copy.

    red: the judge's findings by case. broken: other failures by case.
    void: cases whose point was not reached.
    """

    red: dict[str, str]
    broken: dict[str, str]
    void: list[str]
    seconds: float


async def judge(say: Callable[[str], None], root: Path, names: Iterable[str], seed: int) -> Verdict:
    """Run cases on the sources in root."""
    began, red, broken, void = time.monotonic(), dict[str, str](), dict[str, str](), list[str]()
    async with running_testbed(say, product_root=root) as testbed:
        session = Session.of(testbed, Random(seed), say)
        session.kinds = (VIDEO,)
        for name in names:
            if CALM.name in red:  # it fails without a fault, too, so its cases would prove nothing
                break
            others = len(session.bystanders)
            for _ in range(ROUNDS):
                await session.round([case_of(name)], HELD)
                if session.results[name].trials:
                    break
            result = session.results[name]
            # An execution that a bug ends early is no longer in flight at the round's fault.
            findings = [*result.findings, *session.bystanders[others:]]
            if found := [finding for finding in findings if finding.is_red]:
                red[name] = found[0].explain()
            elif not result.trials:
                void.append(name)
            if result.broken:
                broken[name] = result.broken[0]
        await session.customers.close()
    return Verdict(red=red, broken=broken, void=void, seconds=time.monotonic() - began)


async def prove(say: Callable[[str], None], bugs: list[Bug], seed: int) -> int:
    """Return 0 if the unchanged product is green and each bug turns each of its cases red."""
    wrong = 0
    with copied(ROOT) as snapshot:
        names = list(dict.fromkeys(name for bug in bugs for name in bug.cases))
        say(f"The product as it is: {', '.join(names)}")
        as_it_is = await judge(say, snapshot, names, seed)
        for name in names:
            why = as_it_is.red.get(name) or as_it_is.broken.get(name, "")
            verdict = "RED" if why else "VOID" if name in as_it_is.void else "green"
            wrong += verdict != "green"
            say(f"{verdict:<5}  unmodified  {name}  {why}")
        for bug in bugs:
            say(f"{bug.name}: {bug.what}")
            with copied(snapshot) as root:
                plant(bug, root)
                first = (CALM.name,) if bug.needs_fault else ()
                found = await judge(say, root, (*first, *bug.cases), seed)
            if (why := found.red.get(CALM.name)) is not None:
                wrong += 1
                say(f"BROKEN  {bug.name}  {CALM.name}  {why}")
                continue
            for name in bug.cases:
                verdict = "red" if name in found.red else "VOID" if name in found.void else "GREEN"
                wrong += verdict != "red"
                say(
                    f"{verdict:<5}  {bug.name}  {name}  {found.seconds:.0f} s  {found.red.get(name, '')}"
                )
    say(f"{len(bugs)} planted bugs, {wrong} wrong verdicts.")
    return 1 if wrong else 0
