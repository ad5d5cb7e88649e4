"""Soup: under load, every few seconds something of the stack is killed, stopped or cut. The seed
says what.
"""

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.chaos.arena import APIS, SERVERS, WORKERS, Arena
from tests.chaos.cases import Case, Phase
from tests.chaos.load import Order
from tests.chaos.results import CaseResult
from tests.chaos.rounds import Session, set_sandbox

ORDER_SECONDS = 0.25
UNDER_WAY = 60
"""No order is made while so many are under way: two cores that are struck all the time finish fewer
than come, and a backlog would only be waited for at the end.
"""
DEADLINE_SECONDS = 150.0
WIRES: Final = ("postgres", "temporal", "provider", "s3")
SOUP: Final = Case(
    name="soup", what="random kills, stops and cuts under load", fault="soup", side="none"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """at: seconds after the start. how: kill; stop (for `seconds`); cut (of one wire)."""

    at: float
    how: str
    whom: str
    seconds: float = 0.0
    wire: str = ""

    def __str__(self) -> str:
        more = f"for {self.seconds:.1f} s" if self.seconds else self.wire
        return f"{self.at:6.1f} s  {self.how} {self.whom} {more}".rstrip()


def schedule(random: Random, seconds: float) -> list[Blow]:
    """The same for the same seed."""
    blows: list[Blow] = []
    at = random.uniform(2, 4)
    while at < seconds:
        how = random.choices(("kill", "stop", "cut"), (5, 2, 2))[0]
        if how == "kill":
            blows.append(
                Blow(
                    at=at,
                    how=how,
                    whom=random.choice((*APIS, *APIS, *WORKERS, *WORKERS, *WORKERS, *SERVERS)),
                )
            )
        elif how == "stop":
            whom = random.choice((*APIS, *WORKERS, *WORKERS, "Temporal", "PostgreSQL", "Sandbox"))
            blows.append(Blow(at=at, how=how, whom=whom, seconds=random.uniform(1, 12)))
        else:
            blows.append(
                Blow(
                    at=at, how=how, whom=random.choice((*APIS, *WORKERS)), wire=random.choice(WIRES)
                )
            )
        at += random.uniform(2, 6)
    return blows


async def soup(session: Session, seconds: float) -> None:
    """Load and blows for so long, then rest; every order is judged, those that were in flight at a
    blow count.
    """
    blows = schedule(session.random, seconds)
    session.say("\n".join(["Schedule:", *(f"  {blow}" for blow in blows)]))
    await set_sandbox(session.arena, SOUP.setting)
    first = len(session.customers.orders)
    hit: dict[str, Phase] = {}
    steps: dict[tuple[str, str], Phase] = {}
    ordering = asyncio.create_task(_order(session, first))
    began = time.monotonic()
    waking: list[asyncio.Task[None]] = []
    try:
        for blow in blows:
            await asyncio.sleep(max(0.0, began + blow.at - time.monotonic()))
            session.mailbox.look()
            under_way = [
                order.token
                for order in session.customers.orders[first:]
                if session.mailbox.delivered(order.execution_id) is None
            ]
            hit |= dict.fromkeys(under_way, Phase.ELSEWHERE)
            steps |= await session.oracle.open_steps()
            waking += _strike(session.arena, blow)
            session.say(
                f"  {time.monotonic() - began:6.1f} s  {blow.how} {blow.whom} {blow.wire}; {len(hit)} hit so far"
            )
    finally:
        ordering.cancel()
        await asyncio.gather(ordering, return_exceptions=True)
        await asyncio.gather(*waking)
    mine = session.customers.orders[first:]
    await _rest(session, mine)
    findings = await session.oracle.judge(mine)
    for finding in findings:
        if finding.is_red:
            session.say(f"    RED {finding.explain()}")
    # Once for each paid step that a blow found open, and once for an execution without such a step.
    steps = {(token, step): phase for (token, step), phase in steps.items() if token in hit}
    caught = {token for token, _ in steps}
    result = session.results.setdefault(SOUP.name, CaseResult(case=SOUP))
    result.findings += [finding for finding in findings if finding.order.token in hit]
    result.rounds += len(blows)
    result.phases.update(
        [*steps.values(), *(phase for token, phase in hit.items() if token not in caught)]
    )
    session.bystanders += [finding for finding in findings if finding.order.token not in hit]


async def _order(session: Session, first: int) -> None:
    while True:
        session.mailbox.look()
        orders = session.customers.orders[first:]
        if (
            sum(session.mailbox.delivered(order.execution_id) is None for order in orders)
            < UNDER_WAY
        ):
            session.customers.order()
        await asyncio.sleep(ORDER_SECONDS)


def _strike(arena: Arena, blow: Blow) -> list["asyncio.Task[None]"]:
    """What is down already takes no blow. Returns what wakes a stopped process."""
    if blow.how == "cut":
        arena.link(blow.whom, blow.wire).cut()
        return []
    try:
        arena.signal(blow.whom, signal.SIGKILL if blow.how == "kill" else signal.SIGSTOP)
    except ProcessLookupError:
        return []
    return (
        [asyncio.create_task(_wake(arena.pid_of(blow.whom), arena, blow))]
        if blow.how == "stop"
        else []
    )


async def _wake(pid: int, arena: Arena, blow: Blow) -> None:
    await asyncio.sleep(blow.seconds)
    with contextlib.suppress(ProcessLookupError):  # killed while it was stopped
        if arena.pid_of(blow.whom) == pid:
            arena.signal(blow.whom, signal.SIGCONT)


async def _rest(session: Session, orders: list[Order]) -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    await session.customers.all_answered()
    while time.monotonic() < until:
        session.mailbox.look()
        if all(session.mailbox.delivered(order.execution_id) for order in orders):
            return
        await asyncio.sleep(0.5)
