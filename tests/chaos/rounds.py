"""A round: set traps, order until work is held at every point, inject one fault, wait, judge."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tests.chaos.cases import Case, Phase, Setting, hold_seconds, phase_of
from tests.chaos.control import control
from tests.chaos.faults import FAULTS, Injection, set_sandbox
from tests.chaos.judge import Finding
from tests.chaos.load import Order
from tests.chaos.results import CaseResult
from tests.chaos.testbed import APIS, WORKERS
from tests.chaos.traps import Trap, Verdict

if TYPE_CHECKING:  # a session makes its rounds
    from tests.chaos.session import Session

HOLD_LEFT_FOR_LAST_SECONDS = 2.0
FILL_SECONDS = 20.0
"""Limit for reaching all points. Most are reached within two seconds of an order."""
DEADLINE_SECONDS = 100.0
"""Limit from the fault to the last webhook; whatever has not ended by then is lost."""
OVERTAKEN_SECONDS = 180.0
"""Temporal dispatches tasks to a stopped worker's open polls for a minute; each must time out."""
ORDERS_PER_SECOND = 10
ONE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "kill worker": WORKERS,
    "term worker": WORKERS,
    "stop worker": WORKERS,
    "kill api": APIS,
    "cut": (),
}
"""Faults that affect one of these processes while the others serve, in the most efficient order."""
UNDER_WAY = 30
"""Orders that are neither held nor finished: more would only compete for two cores."""
AT_ONCE = 6
PAUSE_SECONDS = 0.25


@dataclass(slots=True, kw_only=True)
class Round:
    session: "Session"
    cases: list[Case]
    per_case: int
    traps: dict[str, Trap] = field(default_factory=dict[str, Trap])
    orders: list[Order] = field(default_factory=list[Order])
    injection: Injection = field(init=False)
    seconds: float = 0.0
    began: float = field(default_factory=time.monotonic)
    in_flight: dict[str, Phase] = field(default_factory=dict[str, Phase])
    held_webhooks: list[str] = field(default_factory=list[str])
    seconds_of: dict[str, float] = field(default_factory=dict[str, float])
    background: "asyncio.Task[None]" = field(init=False)
    victim: str = ""
    _let_go_event: asyncio.Event = field(default_factory=asyncio.Event)

    async def attack(self, *, worker: str, api: str, alone: bool) -> None:
        """Run until everything held is released; if alone, until all processes are ready again."""
        testbed, fault = self.session.testbed, self.cases[0].fault
        self.injection = Injection(
            testbed=testbed,
            worker=worker,
            api=api,
            release=self._release_held,
            overtaken=self._overtaken,
        )
        self.victim = next((name for name in ONE_OF.get(fault, ()) if name in (worker, api)), "")
        setting = self.cases[0].setting
        await set_sandbox(testbed, setting)
        await self._receiver(f"refuse/{int(setting.refuses_first)}")
        self._arm()
        testbed.preferred_api = api if fault == "kill api" else None
        try:
            await self._fill()
            testbed.trap_set.disarm()
            testbed.preferred_api = None
            await self._note_in_flight()
        except BaseException:
            testbed.trap_set.release_all(Verdict.GO_ON)
            raise
        self.background = asyncio.create_task(self._continue())
        self.session.recovering[self.victim] = self
        await self._let_go_event.wait()
        if alone:
            await self.background
        await self._check_fired(setting)

    async def _continue(self) -> None:
        try:
            await FAULTS[self.cases[0].fault](self.injection)
        except TimeoutError as error:
            self.injection.broken.append(str(error) or "not everything came back")
        finally:
            self._release_held()
            if any(case.side == "receiver" for case in self.cases):
                await self._receiver("release")

    @property
    def reached_count(self) -> int:
        """Return the number of executions at its points, not judged yet."""
        held = sum(len(trap.held_moments) for trap in self.traps.values())
        return held + len(self.in_flight if not self.traps else ()) + len(self.held_webhooks)

    async def over(self) -> None:
        """Wait until the killed processes are ready again."""
        await self.background

    async def judge(self) -> list[Finding]:
        """Return each order's finding, once all have their webhooks or the deadline has passed."""
        with contextlib.suppress(TimeoutError):
            await self._recovered()
        findings = await self.session.evidence.judge(self.orders)
        self.seconds = time.monotonic() - self.began
        return findings

    def _arm(self) -> None:
        sides = {
            "worker": frozenset({self.injection.worker}),
            "workers": frozenset(WORKERS),
            "api": frozenset({self.injection.api}),
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
                # These moments are frequent, or may be held only briefly.
                last=case.moment.startswith(("rpc:", "done:")),
            )
            for case in self.cases
            if case.side in sides
        }
        self.session.testbed.trap_set.arm(self.traps.values())

    async def _fill(self) -> None:
        """Order until every trap is full or the hold limit is reached."""
        receiving = any(case.side == "receiver" for case in self.cases)
        if receiving:
            await self._receiver(f"hold/{self.per_case}")
        if not self.traps and not receiving:
            await self._fill_evenly()
            return
        until = time.monotonic() + FILL_SECONDS
        at_once = all(trap.at_once for trap in self.traps.values()) and not receiving
        while time.monotonic() < until:
            missing = sum(trap.limit - len(trap.held_moments) for trap in self.traps.values())
            if receiving:
                missing += self.per_case - len(await self._held_webhooks())
            if not missing:
                return
            last = not at_once and self._is_hold_over(HOLD_LEFT_FOR_LAST_SECONDS)
            if last:
                self.session.testbed.trap_set.arm_last()
            if not at_once and self._is_hold_over():
                return
            under_way = len(self.session.mailbox.waiting(self.orders))
            held = sum(len(trap.held_moments) for trap in self.traps.values())
            waiting = under_way - held
            # The last traps may be at the path's beginning, where only a new order arrives.
            wanted = max(min(AT_ONCE, 2 * missing + 2 - waiting, UNDER_WAY - waiting), int(last))
            for _ in range(wanted):
                self._order()
            await asyncio.sleep(PAUSE_SECONDS)

    def _is_hold_over(self, margin_seconds: float = 0.0) -> bool:
        now = time.monotonic() + margin_seconds
        return any(
            now - one.at_monotonic > hold_seconds(one.moment)
            for trap in self.traps.values()
            for one in trap.held_moments
        )

    async def _fill_evenly(self) -> None:
        """Spread orders over time, so that the fault meets executions at every stage."""
        seconds = max(2.5, self.per_case / ORDERS_PER_SECOND)
        for _ in range(self.per_case):
            self._order()
            await asyncio.sleep(self.session.random.uniform(0.5, 1.5) * seconds / self.per_case)

    def _order(self) -> None:
        customers = self.session.customers
        kinds = self.cases[0].setting.kinds or self.session.kinds
        self.orders.append(customers.order(kinds[len(customers.orders) % len(kinds)]))

    async def _note_in_flight(self) -> None:
        self.session.mailbox.look()
        steps = {
            token: phase for (token, _), phase in (await self.session.evidence.open_steps()).items()
        }
        tokens = [order.token for order in self.session.mailbox.waiting(self.orders)]
        self.in_flight = {token: steps.get(token, Phase.ELSEWHERE) for token in tokens}
        self.held_webhooks = (
            await self._held_webhooks() if "receiver" in {case.side for case in self.cases} else []
        )

    def _release_held(self) -> None:
        verdicts = {case.name: case.verdict for case in self.cases}
        for name, trap in self.traps.items():
            self.session.testbed.trap_set.release(trap, verdicts[name])
        self._let_go_event.set()

    async def _recovered(self) -> None:
        """Wait until every order has its response and its webhook.

        Raise TimeoutError.
        """
        mailbox = self.session.mailbox
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                mailbox.look()
                if all(
                    order.execution_id is None and order.refused.startswith("4")
                    for order in mailbox.waiting(self.orders)
                ):
                    return
                await asyncio.sleep(0.1)

    async def _overtaken(self) -> None:
        """Wait until another worker has continued every held execution up to a purchase or webhook.

        Raise TimeoutError.
        """
        held = {
            token
            for trap in self.traps.values()
            for held in trap.held_moments
            for token in held.tokens
        }
        before = await self.session.evidence.bill.by_token()
        rows = await self.session.evidence.tokens_of(list(held))
        until = time.monotonic() + OVERTAKEN_SECONDS
        while True:
            await asyncio.sleep(0.5)
            self.session.mailbox.look()
            now = await self.session.evidence.bill.by_token()
            # All orders count: one of an earlier round may be held here.
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
                raise TimeoutError(f"no other worker overtook the stopped one: {behind}")

    async def _receiver(self, word: str) -> dict[str, Any]:
        return await control("POST", f"{self.session.testbed.receiver_url}/__control/{word}")

    async def _held_webhooks(self) -> list[str]:
        return [one["execution_id"] for one in (await self._receiver("look"))["held"]]

    async def _check_fired(self, setting: Setting) -> None:
        """Wait until each fault of the sandbox has fired: the next round removes them."""
        while True:
            response = await control("GET", f"{self.session.testbed.control_url}/faults")
            fired: set[str] = {fault["fault"] for fault in response["faults"] if fault["fired"]}
            missing: set[str] = {wanted["fault"] for wanted in setting.faults} - fired
            if not missing or time.monotonic() > self.began + DEADLINE_SECONDS:
                self.injection.void += [f"{name} did not fire" for name in sorted(missing)]
                return
            await asyncio.sleep(PAUSE_SECONDS)

    def assign(self, findings: list[Finding]) -> tuple[list[str], set[str]]:
        """Assign findings to cases by the points they reached; return a summary and the orders."""
        shown: list[str] = []
        assigned: set[str] = set()
        for case in self.cases:
            result = self.session.results.setdefault(case.name, CaseResult(case=case))
            result.rounds += 1
            mine = self._findings_of(case, findings)
            if self.injection.void or not mine:
                result.voids += self.injection.void or ["nothing was at this point"]
                shown.append(
                    f"{case.name} VOID ({'; '.join(self.injection.void) or 'not reached'})"
                )
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
        result.broken += self.injection.broken
        for finding in mine:
            if result.case.sent_once and finding.order.kind.in_sequence:
                held = self.traps[result.case.name].held_moments
                result.broken += finding.sent_again(
                    [one.at for one in held if one.tokens & finding.names]
                )
            at = finding.first_webhook_at
            if at is not None and (seconds := at - self.injection.fired_at) > 0:
                self.seconds_of[finding.order.execution_id or ""] = seconds
                result.recovered_seconds.append(seconds)
                result.since_restart_seconds.append(max(0.0, at - (self.injection.back_at or at)))

    def _findings_of(self, case: Case, findings: list[Finding]) -> list[Finding]:
        if case.side == "none":
            return [finding for finding in findings if finding.order.token in self.in_flight]
        if case.side == "receiver":
            return [
                finding for finding in findings if finding.order.execution_id in self.held_webhooks
            ]
        held_moments = [one.tokens for one in self.traps[case.name].held_moments]
        return [
            finding
            for finding in findings
            if any(tokens & finding.names for tokens in held_moments)
        ]
