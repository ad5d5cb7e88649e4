"""Estimates of the wait for a slot."""

import pytest

from core.domain.queue_waits import provider_wait_seconds, slot_wait_seconds

pytestmark = pytest.mark.guarantee("G5")


@pytest.mark.parametrize(
    ("waiting", "recent", "expected"),
    [(-5, 900.0, 0), (0, 900.0, 0), (1, 900.0, 9), (9500, 1000.0, 95_000), (9500, None, 9500)],
)
def test_wait_for_a_slot_follows_recent_runs(
    waiting: int, recent: float | None, expected: float
) -> None:
    wait = slot_wait_seconds(
        waiting=waiting, running_limit=100, recent_run_seconds=recent, usual_seconds=100
    )
    assert wait == expected


@pytest.mark.parametrize(
    ("work", "own", "users", "expected"),
    [
        (0, 100, 0, 1),  # nothing is measured yet
        (2_000_000, 100, 2, 2),  # a light user and a heavy one
        (2_000_000, 1_000_000, 2, 20_000),  # two heavy users share the slots
        (2_000_000, 1_900_000, 2, 20_000),  # never longer than for all work
        (5_000_000, 100, 50_000, 50_000),  # a crowd of light users
    ],
)
def test_wait_for_a_provider_depends_on_the_users_share(
    work: float, own: float, users: int, expected: float
) -> None:
    wait = provider_wait_seconds(work_seconds=work, own_work_seconds=own, users=users, slots=100)
    assert wait == expected
