"""All rounds on one testbed: which process each attacks, when the next begins, the verdicts."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from tests.chaos.bill import BillReader
from tests.chaos.cases import Case
from tests.chaos.judge import Finding, Judge
from tests.chaos.kinds import MIX, Kind
from tests.chaos.load import Customers, Mailbox
from tests.chaos.results import CaseResult
from tests.chaos.rounds import DEADLINE_SECONDS, ONE_OF, Round
from tests.chaos.slow import explain_slowest
from tests.chaos.testbed import APIS, WORKERS, Testbed

BACKLOG = 30
"""Orders of earlier rounds still in progress when the next round begins."""


@dataclass(slots=True, kw_only=True)
class Session:
    """All rounds on one testbed.

    bystanders: orders at no point of a case, which must succeed. kinds: of the orders, in turn.
    """

    testbed: Testbed
    random: Random
    say: Callable[[str], None]
    customers: Customers
    mailbox: Mailbox
    evidence: Judge
    results: dict[str, CaseResult] = field(default_factory=dict[str, CaseResult])
    bystanders: list[Finding] = field(default_factory=list[Finding])
    recovering: dict[str, "Round"] = field(default_factory=dict[str, "Round"])
    kinds: Sequence[Kind] = MIX

    @property
    def faults(self) -> int:
        """Return the number of judged paid steps with an injected fault."""
        return sum(result.phases.total() for result in self.results.values())

    @classmethod
    def of(cls, testbed: Testbed, random: Random, say: Callable[[str], None]) -> "Session":
        mailbox, customers = Mailbox(testbed.receiver_log), Customers(testbed)
        bill = BillReader(control_url=testbed.control_url, uploads=customers.uploads)
        return cls(
            testbed=testbed,
            random=random,
            say=say,
            customers=customers,
            mailbox=mailbox,
            evidence=Judge(testbed, mailbox, bill),
        )

    async def round(self, cases: list[Case], per_case: int) -> None:
        """Run and judge cases of one family, each with at most this number of held executions."""
        await self.judge([await self.attack(cases, per_case)])

    async def attack(self, cases: list[Case], per_case: int) -> "Round":
        """Run until the killed processes are ready again.

        Other rounds may follow before it is judged.
        """
        one = await self.begin(cases, per_case)
        await one.over()
        return one

    async def begin(self, cases: list[Case], per_case: int) -> "Round":
        """Run until the fault.

        The round continues in the background; the next round uses a process without a fault.
        """
        one = Round(session=self, cases=cases, per_case=per_case)
        kind = ONE_OF.get(cases[0].fault, ())
        if cases[0].fault != "cut":
            await self._until_free(kind)
        await self._until_few_wait()
        await one.attack(
            worker=self._choose(WORKERS),
            api=self._choose(APIS),
            alone=not kind or bool(cases[0].setting.faults),
        )
        self.say(
            f"  {cases[0].fault} {one.victim or ''}: {one.reached_count} at their points"
            f" after {time.monotonic() - one.began:.1f} s"
        )
        return one

    async def _until_few_wait(self) -> None:
        """Wait, up to a limit, so that orders of earlier rounds do not accumulate."""
        until = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < until:
            self.mailbox.look()
            if len(self.mailbox.waiting(self.customers.orders)) <= BACKLOG:
                return
            await asyncio.sleep(0.25)

    async def _until_free(self, kind: tuple[str, ...]) -> None:
        """Wait until one of these processes has no fault; without names, until none has."""
        while self._in_fault(kind) and (not kind or self._in_fault(kind) == set(kind)):
            await asyncio.wait(
                [one.background for one in self._going()], return_when=asyncio.FIRST_COMPLETED
            )

    def _going(self) -> "list[Round]":
        return [one for one in self.recovering.values() if not one.background.done()]

    def _in_fault(self, names: tuple[str, ...]) -> set[str]:
        mine = {one.victim for one in self._going()}
        return mine & set(names) if names else mine

    def _choose(self, names: tuple[str, ...]) -> str:
        return self.random.choice(
            [name for name in names if name not in self._in_fault(names)] or names
        )

    async def judge(self, rounds: "list[Round]") -> None:
        """Judge all orders of these rounds.

        An order of one round may have been held at a point of the next.
        """
        await asyncio.gather(*(one.over() for one in rounds))
        findings = [
            finding
            for found in await asyncio.gather(*(one.judge() for one in rounds))
            for finding in found
        ]
        assigned: set[str] = set()
        for one in rounds:
            shown, mine = one.assign(findings)
            assigned |= mine
            self.say(f"  {one.cases[0].fault:<20} {', '.join(shown)}; {one.seconds:.0f} s")
        self.bystanders += [finding for finding in findings if finding.order.token not in assigned]
        red = [f"RED {finding.explain()}" for finding in findings if finding.is_red]
        for text in [*red, *(f"RED {text}" for one in rounds for text in one.injection.broken)]:
            self.say(f"    {text}")
        await explain_slowest(self.testbed, [one.seconds_of for one in rounds], self.say)
