"""The short form of `make chaos`: every exact crash point once, on one testbed."""

from random import Random

import pytest

from tests.chaos.__main__ import run_pass
from tests.chaos.cases import ALL
from tests.chaos.report import upper_bound
from tests.chaos.session import Session
from tests.chaos.testbed import running_testbed

pytestmark = pytest.mark.guarantee("G1")

ATTEMPTS = 3
IN_FLIGHT = 5
HELD_AT_ONCE = 14
IN_FLIGHT_CASES = {"all-die", "workflows-reset", "callback-to-the-dead"}
"""Faults at no exact point. tests/end_to_end/test_kill.py kills each process alone."""
SHORT = [case for case in ALL if not case.alone or case.name in IN_FLIGHT_CASES]


@pytest.mark.timeout(
    700
)  # a minute and a half; a stalled order is waited for, so that its finding is shown
async def test_every_crash_point_pays_once_and_loses_nothing() -> None:
    said: list[str] = []
    async with running_testbed(said.append, in_memory=True) as testbed:
        session = Session.of(testbed, Random(7), said.append)
        due = SHORT
        for _ in range(ATTEMPTS):
            await session.judge(
                await run_pass(session, due, 1, in_flight=IN_FLIGHT, held_at_once=HELD_AT_ONCE)
            )
            due = [case for case in due if not session.results[case.name].trials]
        assert await session.evidence.held_in_budgets() == 0
        assert await session.evidence.ledger_findings() == []
    red = [one.explain() for one in session.bystanders if one.is_red]
    red += [
        one.explain()
        for result in session.results.values()
        for one in result.findings
        if one.is_red
    ]
    red += [text for result in session.results.values() for text in result.broken]
    assert not red, "\n".join([*red, *said])
    assert not due, f"not reached: {[case.name for case in due]}\n" + "\n".join(said)


def test_upper_bound_is_the_rule_of_three_without_failures() -> None:
    assert upper_bound(0, 3000) == pytest.approx(3 / 3000, rel=0.01)
    assert upper_bound(1, 100) == pytest.approx(0.0466, abs=0.0005)
    assert upper_bound(3, 3) == 1.0
