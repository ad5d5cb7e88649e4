"""The random fault mix, by seed: under load, a process, a connection or a read fails often."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.chaos.cases import Case, Phase
from tests.chaos.faults import set_sandbox
from tests.chaos.judge import Finding
from tests.chaos.kinds import MIX
from tests.chaos.load import Order
from tests.chaos.read_faults import (
    FILE_FAULTS,
    READ_FAULTS,
    SPEECH_FAULTS,
    SpoiledReads,
    name_of,
)
from tests.chaos.results import CaseResult
from tests.chaos.session import Session
from tests.chaos.slow import explain_slowest
from tests.chaos.testbed import APIS, SERVERS, WORKERS, Testbed

ORDER_SECONDS = 0.25
UNDER_WAY = 60
"""No order is made while this number is in progress.

Two cores under constant faults finish fewer orders than arrive, and a backlog would only prolong
the end.
"""
DEADLINE_SECONDS = 150.0
PHASE_OF_OPERATION: Final = {"file": Phase.ELSEWHERE, "create": Phase.PAYING}
"""A job is bought before its other reads."""
WIRES: Final = ("postgres", "temporal", "provider", "s3")
OF_THE_SANDBOX: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    "read": READ_FAULTS,
    "file": FILE_FAULTS,
    "speech": SPEECH_FAULTS,
}
RANDOM_FAULTS: Final = Case(
    name="soup", what="random kills, stops and cuts under load", fault="soup", side="none"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledFault:
    """A scheduled fault.

    at: seconds after the start. how: kill; stop (for `seconds`); cut (of one connection); read,
    file or speech (a fault of the sandbox).
    """

    at: float
    how: str
    target: str
    seconds: float = 0.0
    wire: str = ""
    fault: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        more = f"for {self.seconds:.1f} s" if self.seconds else self.wire
        return f"{self.at:6.1f} s  {self.how} {self.target} {more}".rstrip()


def schedule(random: Random, seconds: float) -> list[ScheduledFault]:
    """Return the same schedule for the same seed."""
    scheduled: list[ScheduledFault] = []
    at = random.uniform(2, 4)
    while at < seconds:
        how = random.choices(("kill", "stop", "cut", *OF_THE_SANDBOX), (5, 2, 2, 4, 3, 2))[0]
        if how == "kill":
            scheduled.append(
                ScheduledFault(
                    at=at,
                    how=how,
                    target=random.choice((*APIS, *APIS, *WORKERS, *WORKERS, *WORKERS, *SERVERS)),
                )
            )
        elif how == "stop":
            target = random.choice((*APIS, *WORKERS, *WORKERS, "Temporal", "PostgreSQL", "Sandbox"))
            scheduled.append(
                ScheduledFault(at=at, how=how, target=target, seconds=random.uniform(1, 12))
            )
        elif how in OF_THE_SANDBOX:
            fault = random.choice(OF_THE_SANDBOX[how])
            scheduled.append(ScheduledFault(at=at, how=how, target=name_of(fault), fault=fault))
        else:
            scheduled.append(
                ScheduledFault(
                    at=at,
                    how=how,
                    target=random.choice((*APIS, *WORKERS)),
                    wire=random.choice(WIRES),
                )
            )
        at += random.uniform(1, 4)
    return scheduled


async def run_random_faults(session: Session, seconds: float) -> None:
    """Apply load and faults, then wait and judge every order.

    Orders in flight at a kill, stop or cut count as trials, and so do those whose read was spoiled.
    """
    scheduled = schedule(session.random, seconds)
    session.say("\n".join(["Schedule:", *(f"  {fault}" for fault in scheduled)]))
    await set_sandbox(session.testbed, RANDOM_FAULTS.setting)
    first = len(session.customers.orders)
    hit: dict[str, Phase] = {}
    steps: dict[tuple[str, str], Phase] = {}
    ordering = asyncio.create_task(_order(session, first))
    began = time.monotonic()
    waking: list[asyncio.Task[None]] = []
    reads = SpoiledReads(testbed=session.testbed)
    try:
        for fault in scheduled:
            await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
            await reads.look()
            if fault.fault is None:
                hit |= await _note_in_flight(session, first)
                steps |= await session.evidence.open_steps()
                waking += _inject(session.testbed, fault)
            else:
                await reads.add(fault.fault)
            session.say(
                f"  {time.monotonic() - began:6.1f} s  {fault.how} {fault.target} {fault.wire}; {len(hit)} hit so far"
            )
    finally:
        ordering.cancel()
        await asyncio.gather(ordering, return_exceptions=True)
        await asyncio.gather(*waking)
    mine = session.customers.orders[first:]
    await _rest(session, mine)
    await reads.look()
    for (token, step), operation in (await reads.purchases()).items():
        hit.setdefault(token, Phase.ELSEWHERE)
        steps.setdefault((token, step), PHASE_OF_OPERATION.get(operation, Phase.BOUGHT))
    session.say(f"  Faulty reads added: {reads.added.total()}; answers spoiled: {spoiled(reads)}")
    findings = await session.evidence.judge(mine)
    for finding in findings:
        if finding.is_red:
            session.say(f"    RED {finding.explain()}")
    await explain_slowest(session.testbed, [_seconds_of(findings)], session.say)
    # Once for each paid step open at the fault, and once for an execution without an open step.
    steps = {(token, step): phase for (token, step), phase in steps.items() if token in hit}
    caught = {token for token, _ in steps}
    result = session.results.setdefault(RANDOM_FAULTS.name, CaseResult(case=RANDOM_FAULTS))
    result.findings += [finding for finding in findings if finding.order.token in hit]
    result.fired += reads.fired
    if reads.added and not reads.fired:
        result.voids.append("no faulty read was ever answered")
    result.rounds += len(scheduled)
    result.phases.update(
        [*steps.values(), *(phase for token, phase in hit.items() if token not in caught)]
    )
    session.bystanders += [finding for finding in findings if finding.order.token not in hit]


def _seconds_of(findings: Sequence[Finding]) -> dict[str, float]:
    """Return the time from each order's 202 to its webhook, by execution."""
    return {
        finding.order.execution_id: finding.first_webhook_at - finding.order.accepted_at
        for finding in findings
        if finding.order.execution_id and finding.order.accepted_at and finding.first_webhook_at
    }


def spoiled(reads: SpoiledReads) -> str:
    """Return the number of spoiled answers by fault; a fault that did not fire has 0."""
    names = sorted(reads.added | reads.fired)
    return ", ".join(f"{name} {reads.fired[name]}" for name in names) or "none"


async def _note_in_flight(session: Session, first: int) -> dict[str, Phase]:
    session.mailbox.look()
    waiting = session.mailbox.waiting(session.customers.orders[first:])
    return {order.token: Phase.ELSEWHERE for order in waiting}


async def _order(session: Session, first: int) -> None:
    """Make orders of random kinds; the seed repeats their sequence."""
    random = Random(session.random.random())
    while True:
        session.mailbox.look()
        if len(session.mailbox.waiting(session.customers.orders[first:])) < UNDER_WAY:
            session.customers.order(random.choice(MIX))
        await asyncio.sleep(ORDER_SECONDS)


def _inject(testbed: Testbed, fault: ScheduledFault) -> list["asyncio.Task[None]"]:
    """Inject the fault, except into a process that is down.

    Return the tasks that resume stopped processes.
    """
    if fault.how == "cut":
        testbed.link(fault.target, fault.wire).cut()
        return []
    try:
        testbed.signal(fault.target, signal.SIGKILL if fault.how == "kill" else signal.SIGSTOP)
    except ProcessLookupError:
        return []
    return (
        [asyncio.create_task(_wake(testbed.pid_of(fault.target), testbed, fault))]
        if fault.how == "stop"
        else []
    )


async def _wake(pid: int, testbed: Testbed, fault: ScheduledFault) -> None:
    await asyncio.sleep(fault.seconds)
    with contextlib.suppress(ProcessLookupError):  # it was killed while it was stopped
        if testbed.pid_of(fault.target) == pid:
            testbed.signal(fault.target, signal.SIGCONT)


async def _rest(session: Session, orders: list[Order]) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    await session.customers.all_answered()
    while time.monotonic() < until:
        session.mailbox.look()
        if all(session.mailbox.delivered(order.execution_id) for order in orders):
            return
        await asyncio.sleep(0.5)
