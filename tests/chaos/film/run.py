"""The whole run: an undisturbed film, then films at whose positions workers are killed."""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from core.platform.crypto.sealing import Sealer
from tests.chaos.bill import NO_ORDER, BillReader
from tests.chaos.film.killer import Killer
from tests.chaos.film.plan import FILM, MEDIA, PAID
from tests.chaos.film.positions import Position, itineraries, with_earlier
from tests.chaos.film.report import table, table_text
from tests.chaos.film.traps import FilmTraps
from tests.chaos.film.verdicts import Film, Inspector, left_behind
from tests.chaos.judge import Judge
from tests.chaos.load import Customers, Mailbox, Order
from tests.chaos.testbed import Testbed, running_testbed
from tests.support.folders import data_folder

PER_FILM: Final = 8
"""Positions that a film meets, one after the other."""
AT_ONCE: Final = 18
PASSES: Final = 3
"""For positions that a film has passed without a hold, such as after a kill at another one."""
FILM_SECONDS: Final = 300.0
"""From an order to its webhook, with all of its kills."""
REST_SECONDS: Final = 3.0


def settings(scratch: Path) -> Mapping[str, str]:
    """Return the workers' settings: one media step at a time, so that its program is known."""
    return {
        "MEDIA_SLOTS": "1",
        "MEDIA_THREADS": "1",
        "MEDIA_POSTERS": "false",  # the plan has its own
        "MEDIA_SCRATCH_FOLDER": str(scratch),
    }


@dataclass(slots=True, kw_only=True)
class Studio:
    """Orders films on one testbed.

    until: no film is ordered, and none is held, after this time (monotonic).
    """

    testbed: Testbed
    traps: FilmTraps
    killer: Killer
    customers: Customers
    mailbox: Mailbox
    say: Callable[[str], None]
    random: Random
    until: float
    orders: list[Order] = field(default_factory=list[Order])

    def order(self, positions: Sequence[Position]) -> Order:
        order = self.customers.order(FILM)
        self.traps.pending[order.number] = with_earlier(positions)
        self.orders.append(order)
        return order

    async def make(self, positions: Sequence[Position]) -> None:
        """Make films until each position was reached, or until the passes are over."""
        due = list(positions)
        for number in range(1, PASSES + 1):
            plans = itineraries(due, PER_FILM)
            self.random.shuffle(plans)
            films = len(plans)
            await self._make_all(plans)
            await self.killer.recovered()
            reached = {one.position for one in self.killer.fired}
            due = [position for position in positions if position not in reached]
            self.say(
                f"  Pass {number}: {films} films, {self.killer.kills} kills so far, "
                f"{len(positions) - len(due)} of {len(positions)} positions reached"
            )
            if not due or time.monotonic() > self.until:
                return

    async def _make_all(self, plans: list[list[Position]]) -> None:
        began: dict[int, float] = {}
        mine: list[Order] = []
        while True:
            self.mailbox.look()
            now = time.monotonic()
            open_orders = [
                order
                for order in self.mailbox.waiting(mine)
                if now - began[order.number] < FILM_SECONDS
            ]
            if now > self.until:
                plans.clear()
                self.traps.pending.clear()
            if not open_orders and not plans:
                return
            if plans and len(open_orders) < AT_ONCE:
                order = self.order(plans.pop())
                began[order.number] = now
                mine.append(order)
            await asyncio.sleep(0.2)


async def film_chaos(
    say: Callable[[str], None],
    positions: Sequence[Position],
    seed: int,
    *,
    minutes: float | None = None,
    keep: bool = False,
) -> bool:
    """Run everything, print the table, and return whether all is well."""
    began = time.monotonic()
    traps = FilmTraps()
    with data_folder("takeone-film-") as scratch:
        say("Starting two APIs, two workers, and what they stand on ...")
        async with running_testbed(
            say, keep=keep, in_memory=True, trap_set=traps, settings=settings(scratch)
        ) as testbed:
            keys = [base64.b64decode(part) for part in testbed.keys.encryption_key.split(",")]
            traps.begin(testbed, Sealer(keys))
            mailbox, customers = Mailbox(testbed.receiver_log), Customers(testbed)
            killer = Killer(testbed=testbed, traps=traps)
            studio = Studio(testbed=testbed, traps=traps, killer=killer, customers=customers,
                            mailbox=mailbox, say=say, random=Random(seed),
                            until=began + 60 * (minutes or 24 * 60))  # fmt: skip
            say(f"Started in {time.monotonic() - began:.0f} s.")
            reference, films, faults = await _film_and_judge(studio, positions)
            faults += left_behind(scratch)
            say(f"\n{table_text(table(positions, killer.fired, films, reference))}\n")
            reached = {one.position for one in killer.fired}
            for position in positions:
                if position not in reached:
                    say(f"not reached: {position}")
            for fault in faults:
                say(f"RED {fault}")
            say(
                f"{len(reached)} of {len(positions)} positions, {killer.kills} kills, "
                f"{len(films)} films and the undisturbed one, "
                f"{len(faults)} faults, seed {seed}, {time.monotonic() - began:.0f} s"
            )
            await customers.close()
            await traps.close()
    return not faults


async def _film_and_judge(
    studio: Studio, positions: Sequence[Position]
) -> tuple[Film, dict[int, Film], list[str]]:
    """Make the undisturbed film and the others; return them with all faults."""
    testbed, traps, killer = studio.testbed, studio.traps, studio.killer
    bill = BillReader(control_url=testbed.control_url, uploads=studio.customers.uploads)
    judge = Judge(testbed, studio.mailbox, bill)
    inspector = Inspector(testbed=testbed, traps=traps, mailbox=studio.mailbox, bill=bill)
    first = studio.order(())
    await _delivered(studio, [first])
    reference = await inspector.look(first)
    faults = reference.faults(reference) + _incomplete(reference)
    if faults:
        return reference, {}, faults
    studio.say(f"  The undisturbed film: {reference.result_sha256}")
    killing = asyncio.create_task(killer.run())
    try:
        await studio.make(positions)
    finally:
        killing.cancel()
        await asyncio.gather(killing, return_exceptions=True)
        traps.let_go()
    await killer.recovered()
    await _delivered(studio, studio.orders)
    await asyncio.sleep(REST_SECONDS)
    films = {order.number: await inspector.look(order) for order in studio.orders[1:]}
    faults = [text for film in films.values() for text in film.faults(reference)]
    unassigned = (await bill.by_token()).get(NO_ORDER, [])
    faults += [f"a line of the bill of no film: {line}" for line in unassigned]
    faults += [f"ledger check: {text}" for text in await judge.ledger_findings()]
    held = await judge.held_in_budgets()
    faults += [f"{held} is still held in budgets"] if held else []
    faults += [f"{text} outlived it" for text in killer.survivors]
    faults += [f"{one.position}: the worker was not killed" for one in killer.void]
    return reference, films, faults


def _incomplete(reference: Film) -> list[str]:
    """Return what the undisturbed film lacks, without which it proves nothing."""
    said = [f"nothing bought for {step}" for step in PAID if len(reference.bill[step]) != 1]
    said += [f"{step} was not computed" for step in MEDIA if reference.computed[step] != 1]
    return said + ([] if reference.result_sha256 else ["no result"])


async def _delivered(studio: Studio, orders: list[Order]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(FILM_SECONDS):
            while studio.mailbox.waiting(orders):
                await asyncio.sleep(0.2)
                studio.mailbox.look()
