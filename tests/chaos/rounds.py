"""One round: traps set, orders made until work is held at every point, one fault, everything
awaited, judged.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import httpx

from tests.chaos.arena import APIS, WORKERS, Arena
from tests.chaos.cases import Case, Phase, Setting, hold_seconds, phase_of
from tests.chaos.faults import FAULTS, Strike
from tests.chaos.faults import set_sandbox as set_sandbox
from tests.chaos.gate import Trap, Verdict
from tests.chaos.load import Customers, Mailbox, Order
from tests.chaos.oracle import Finding, Oracle
from tests.chaos.results import CaseResult

HOLD_LEFT_FOR_LAST_SECONDS = 2.0
FILL_SECONDS = 20.0
"""For all points to be reached. Most are reached within two seconds of an order."""
DEADLINE_SECONDS = 100.0
"""From the fault to the last webhook; what has not ended by then is lost."""
OVERTAKEN_SECONDS = 180.0
"""Temporal goes on giving tasks to a stopped worker's open polls, a minute long, and each comes
back by a time-out.
"""
ORDERS_PER_SECOND = 10
ONE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "kill worker": WORKERS,
    "term worker": WORKERS,
    "stop worker": WORKERS,
    "kill api": APIS,
    "cut": (),
}
"""Faults that take one of these, while the others serve on; in the order in which they follow each
other best.
"""
BACKLOG = 30
"""Orders of earlier rounds still on their way when the next round begins."""
UNDER_WAY = 30
"""Orders that are neither held nor done: more would only wait for each other on two cores."""
AT_ONCE = 6
PAUSE_SECONDS = 0.25


@dataclass(slots=True, kw_only=True)
class Session:
    """All rounds on one arena. bystanders: orders that were at no point of a case; they must come
    out right, too.
    """

    arena: Arena
    random: Random
    say: Callable[[str], None]
    customers: Customers
    mailbox: Mailbox
    oracle: Oracle
    results: dict[str, CaseResult] = field(default_factory=dict[str, CaseResult])
    bystanders: list[Finding] = field(default_factory=list[Finding])
    recovering: dict[str, "Round"] = field(default_factory=dict[str, "Round"])

    @property
    def faults(self) -> int:
        """Fault-injected paid steps that have been judged."""
        return sum(result.phases.total() for result in self.results.values())

    @classmethod
    def of(cls, arena: Arena, random: Random, say: Callable[[str], None]) -> "Session":
        mailbox = Mailbox(arena.receiver_log)
        return cls(
            arena=arena,
            random=random,
            say=say,
            customers=Customers(arena),
            mailbox=mailbox,
            oracle=Oracle(arena, mailbox),
        )

    async def round(self, cases: list[Case], per_case: int) -> None:
        """Cases of one family, each with at most so many executions held; until all is judged."""
        await self.judge([await self.attack(cases, per_case)])

    async def attack(self, cases: list[Case], per_case: int) -> "Round":
        """Up to the moment when what was killed serves again. Other rounds may follow before it is
        judged.
        """
        one = await self.begin(cases, per_case)
        await one.over()
        return one

    async def begin(self, cases: list[Case], per_case: int) -> "Round":
        """Up to the fault. It goes on by itself, and a round that begins next takes a process that
        is not in one.
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
            f"  {cases[0].fault} {one.victim or ''}: {one.struck} struck after {time.monotonic() - one.began:.1f} s"
        )
        return one

    async def _until_few_wait(self) -> None:
        """What earlier rounds left must not pile up until it misses its deadline. At most for so
        long.
        """
        until = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < until:
            self.mailbox.look()
            orders = self.customers.orders
            if (
                sum(self.mailbox.delivered(order.execution_id) is None for order in orders)
                <= BACKLOG
            ):
                return
            await asyncio.sleep(0.25)

    async def _until_free(self, kind: tuple[str, ...]) -> None:
        """One of these is in no fault; nothing named: no process is."""
        while self._in_fault(kind) and (not kind or self._in_fault(kind) == set(kind)):
            await asyncio.wait(
                [one.going_on for one in self._going()], return_when=asyncio.FIRST_COMPLETED
            )

    def _going(self) -> "list[Round]":
        return [one for one in self.recovering.values() if not one.going_on.done()]

    def _in_fault(self, names: tuple[str, ...]) -> set[str]:
        mine = {one.victim for one in self._going()}
        return mine & set(names) if names else mine

    def _choose(self, names: tuple[str, ...]) -> str:
        return self.random.choice(
            [name for name in names if name not in self._in_fault(names)] or names
        )

    async def judge(self, rounds: "list[Round]") -> None:
        """What became of all orders of these rounds. An order of one may have been held at a point
        of the next.
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
        for text in [*red, *(f"RED {text}" for one in rounds for text in one.strike.broken)]:
            self.say(f"    {text}")


@dataclass(slots=True, kw_only=True)
class Round:
    session: Session
    cases: list[Case]
    per_case: int
    traps: dict[str, Trap] = field(default_factory=dict[str, Trap])
    orders: list[Order] = field(default_factory=list[Order])
    strike: Strike = field(init=False)
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)
    in_flight: dict[str, Phase] = field(default_factory=dict[str, Phase])
    held_webhooks: list[str] = field(default_factory=list[str])
    going_on: "asyncio.Task[None]" = field(init=False)
    victim: str = ""
    _let_go_event: asyncio.Event = field(default_factory=asyncio.Event)

    async def attack(self, *, worker: str, api: str, alone: bool) -> None:
        """Until the fault has come and what was held is let go; if alone, until all serve again."""
        arena, fault = self.session.arena, self.cases[0].fault
        self.strike = Strike(
            arena=arena, worker=worker, api=api, let_go=self._let_go, overtaken=self._overtaken
        )
        self.victim = next((name for name in ONE_OF.get(fault, ()) if name in (worker, api)), "")
        setting = self.cases[0].setting
        await set_sandbox(arena, setting)
        self._arm()
        try:
            await self._fill()
            arena.gate.disarm()
            await self._note_in_flight()
        except BaseException:
            arena.gate.release_all(Verdict.GO_ON)
            raise
        self.going_on = asyncio.create_task(self._go_on())
        self.session.recovering[self.victim] = self
        await self._let_go_event.wait()
        if alone:
            await self.going_on
        await self._check_fired(setting)

    async def _go_on(self) -> None:
        try:
            await FAULTS[self.cases[0].fault](self.strike)
        except TimeoutError as error:
            self.strike.broken.append(str(error) or "not everything came back")
        finally:
            self._let_go()
            if any(case.side == "receiver" for case in self.cases):
                await self._receiver("release")

    @property
    def struck(self) -> int:
        """How many executions were at its points; not judged yet."""
        held = sum(len(trap.parked) for trap in self.traps.values())
        return held + len(self.in_flight if not self.traps else ()) + len(self.held_webhooks)

    async def over(self) -> None:
        """What was killed serves again."""
        await self.going_on

    async def judge(self) -> list[Finding]:
        """What became of every order, once all have their webhooks or the deadline is over."""
        with contextlib.suppress(TimeoutError):
            await self._recovered()
        findings = await self.session.oracle.judge(self.orders)
        self.seconds = time.monotonic() - self.began
        return findings

    def _arm(self) -> None:
        sides = {
            "worker": frozenset({self.strike.worker}),
            "workers": frozenset(WORKERS),
            "api": frozenset({self.strike.api}),
        }
        if self.cases[0].fault == "cut":
            sides["api"] = frozenset(APIS)
        self.traps = {
            case.name: Trap(
                name=case.name,
                processes=sides[case.side],
                moment=case.moment,
                limit=self.per_case,
                at_once=case.verdict if case.at_once else None,
                # They come all the time, or may be held only shortly.
                last=case.moment.startswith(("rpc:", "done:")),
            )
            for case in self.cases
            if case.side in sides
        }
        self.session.arena.gate.arm(self.traps.values())

    async def _fill(self) -> None:
        """Order until every trap is full, or nothing may be held any longer."""
        receiving = any(case.side == "receiver" for case in self.cases)
        if receiving:
            await self._receiver(f"hold/{self.per_case}")
        if not self.traps and not receiving:
            await self._fill_evenly()
            return
        until = time.monotonic() + FILL_SECONDS
        at_once = all(trap.at_once for trap in self.traps.values()) and not receiving
        while time.monotonic() < until:
            missing = sum(trap.limit - len(trap.parked) for trap in self.traps.values())
            if receiving:
                missing += self.per_case - len(await self._held_webhooks())
            if not missing:
                return
            if not at_once and self._is_hold_over(HOLD_LEFT_FOR_LAST_SECONDS):
                self.session.arena.gate.arm_last()
            if not at_once and self._is_hold_over():
                return
            under_way = sum(self._is_under_way(order) for order in self.orders)
            held = sum(len(trap.parked) for trap in self.traps.values())
            waiting = under_way - held
            for _ in range(min(AT_ONCE, 2 * missing + 2 - waiting, UNDER_WAY - waiting)):
                self.orders.append(self.session.customers.order())
            await asyncio.sleep(PAUSE_SECONDS)

    def _is_hold_over(self, margin_seconds: float = 0.0) -> bool:
        now = time.monotonic() + margin_seconds
        return any(
            now - one.at_monotonic > hold_seconds(one.moment)
            for trap in self.traps.values()
            for one in trap.parked
        )

    async def _fill_evenly(self) -> None:
        """Spread over the time an execution takes, so that the fault finds some at every stage."""
        seconds = max(2.5, self.per_case / ORDERS_PER_SECOND)
        for _ in range(self.per_case):
            self.orders.append(self.session.customers.order())
            await asyncio.sleep(self.session.random.uniform(0.5, 1.5) * seconds / self.per_case)

    def _is_under_way(self, order: Order) -> bool:
        return self.session.mailbox.delivered(order.execution_id) is None

    async def _note_in_flight(self) -> None:
        self.session.mailbox.look()
        steps = {
            token: phase for (token, _), phase in (await self.session.oracle.open_steps()).items()
        }
        tokens = [order.token for order in self.orders if self._is_under_way(order)]
        self.in_flight = {token: steps.get(token, Phase.ELSEWHERE) for token in tokens}
        self.held_webhooks = (
            await self._held_webhooks() if "receiver" in {case.side for case in self.cases} else []
        )

    def _let_go(self) -> None:
        verdicts = {case.name: case.verdict for case in self.cases}
        for name, trap in self.traps.items():
            self.session.arena.gate.release(trap, verdicts[name])
        self._let_go_event.set()

    async def _recovered(self) -> None:
        """Every order has its answer and its webhook. Raises TimeoutError."""
        mailbox = self.session.mailbox
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                mailbox.look()
                waiting = [
                    order for order in self.orders if mailbox.delivered(order.execution_id) is None
                ]
                if all(
                    order.execution_id is None and order.refused.startswith("4")
                    for order in waiting
                ):
                    return
                await asyncio.sleep(0.1)

    async def _overtaken(self) -> None:
        """For everything held, somebody else has gone on: its next purchase, or its webhook. Raises
        TimeoutError.
        """
        held = {
            token
            for trap in self.traps.values()
            for parked in trap.parked
            for token in parked.tokens
        }
        before = await self.session.oracle.bill()
        rows = await self.session.oracle.tokens_of(list(held))
        until = time.monotonic() + OVERTAKEN_SECONDS
        while True:
            await asyncio.sleep(0.5)
            self.session.mailbox.look()
            now = await self.session.oracle.bill()
            # Of all orders: one of an earlier round may be held here.
            execution_ids = {
                order.token: order.execution_id for order in self.session.customers.orders
            }
            behind = [
                token
                for token in rows
                if len(now[token]) == len(before[token])
                and self.session.mailbox.delivered(execution_ids.get(token)) is None
            ]
            if not behind:
                return
            if time.monotonic() > until:
                raise TimeoutError(f"nobody overtook the stopped worker: {behind}")

    async def _receiver(self, word: str) -> dict[str, Any]:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=5) as http:
            return (await http.post(f"{self.session.arena.receiver_url}/__control/{word}")).json()

    async def _held_webhooks(self) -> list[str]:
        return [one["execution_id"] for one in (await self._receiver("look"))["held"]]

    async def _check_fired(self, setting: Setting) -> None:
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as http:
            control = self.session.arena.control_url
            faults: list[dict[str, Any]] = (await http.get(f"{control}/faults")).json()["faults"]
        for wanted in setting.faults:
            if not any(fault["fault"] == wanted["fault"] and fault["fired"] for fault in faults):
                self.strike.void.append(f"{wanted['fault']} did not fire")

    def assign(self, findings: list[Finding]) -> tuple[list[str], set[str]]:
        """Give each case the findings that were at its point; how many each got, and which orders
        they are.
        """
        shown: list[str] = []
        assigned: set[str] = set()
        for case in self.cases:
            result = self.session.results.setdefault(case.name, CaseResult(case=case))
            result.rounds += 1
            mine = self._findings_of(case, findings)
            if self.strike.void or not mine:
                result.voids += self.strike.void or ["nothing was at this point"]
                shown.append(f"{case.name} VOID ({'; '.join(self.strike.void) or 'not reached'})")
                continue
            self._add(result, mine)
            assigned |= {finding.order.token for finding in mine}
            shown.append(f"{case.name} {len(mine)}")
        return shown, assigned

    def _add(self, result: CaseResult, mine: list[Finding]) -> None:
        result.findings += mine
        if result.case.side == "none":
            result.phases.update(self.in_flight[finding.order.token] for finding in mine)
        else:
            result.phases[phase_of(result.case.moment)] += len(mine)
        result.broken += self.strike.broken
        for finding in mine:
            if result.case.sent_once:
                held = self.traps[result.case.name].parked
                result.broken += finding.sent_again(
                    [one.at for one in held if one.tokens & finding.names]
                )
            at = finding.first_webhook_at
            if at is not None and at > self.strike.fired_at:
                result.recovered_seconds.append(at - self.strike.fired_at)
                result.since_restart_seconds.append(max(0.0, at - (self.strike.back_at or at)))

    def _findings_of(self, case: Case, findings: list[Finding]) -> list[Finding]:
        if case.side == "none":
            return [finding for finding in findings if finding.order.token in self.in_flight]
        if case.side == "receiver":
            return [
                finding for finding in findings if finding.order.execution_id in self.held_webhooks
            ]
        parked = [one.tokens for one in self.traps[case.name].parked]
        return [finding for finding in findings if any(tokens & finding.names for tokens in parked)]
