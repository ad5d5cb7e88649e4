"""Concurrency limits of webhook attempts, per endpoint and per user."""

from collections.abc import Callable

import pytest

from core.domain.ids import EndpointId, UserId
from core.platform.temporal.policies import SLOT_RETRY_MAX_SECONDS, SLOT_RETRY_MIN_SECONDS
from core.webhooks.concurrency import SLOT_RETRY_JITTER, AttemptSlots, slot_retry_seconds

HANGING, HEALTHY = EndpointId("end_hanging"), EndpointId("end_healthy")
ADA, BOB = UserId("usr_ada"), UserId("usr_bob")


@pytest.fixture
def slots() -> AttemptSlots:
    return AttemptSlots(per_user=12, per_endpoint=10, per_failing_endpoint=2)


def take(
    slots: AttemptSlots, endpoint_id: EndpointId, user_id: UserId = ADA, *, failing: bool = False
) -> Callable[[], None]:
    release = slots.acquire(user_id, endpoint_id, failing=failing)
    assert release is not None
    return release


@pytest.mark.parametrize(("failing", "limit"), [(False, 10), (True, 2)])
def test_endpoint_has_a_bounded_number_of_slots(
    slots: AttemptSlots, failing: bool, limit: int
) -> None:
    releases = [take(slots, HANGING, failing=failing) for _ in range(limit)]
    assert slots.acquire(ADA, HANGING, failing=failing) is None
    take(slots, HEALTHY)
    releases[0]()
    take(slots, HANGING, failing=failing)
    assert slots.acquire(ADA, HANGING, failing=failing) is None


def test_user_with_many_endpoints_leaves_slots_to_others(slots: AttemptSlots) -> None:
    releases = [take(slots, EndpointId(f"end_{number}")) for number in range(12)]
    assert slots.acquire(ADA, HEALTHY, failing=False) is None
    take(slots, EndpointId("end_of_bob"), BOB)
    releases[0]()
    take(slots, HEALTHY)


def test_idle_endpoints_and_users_use_no_memory(slots: AttemptSlots) -> None:
    for number in range(100):
        take(slots, EndpointId(f"end_{number}"), UserId(f"usr_{number}"))()
    assert [len(vars(slots)[name]) for name in ("_endpoints", "_users")] == [0, 0]


def test_refused_attempts_do_not_count(slots: AttemptSlots) -> None:
    releases = [take(slots, HANGING) for _ in range(10)]
    for _ in range(100):
        assert slots.acquire(ADA, HANGING, failing=False) is None
    for release in releases:
        release()
    take(slots, HANGING)


def test_pause_without_a_slot_doubles_up_to_its_limit() -> None:
    for tries, expected in ((1, SLOT_RETRY_MIN_SECONDS), (2, 1.0), (3, 2.0), (99, 60.0)):
        assert expected <= slot_retry_seconds(tries) <= expected * (1 + SLOT_RETRY_JITTER)
    assert SLOT_RETRY_MAX_SECONDS == 60.0


def test_pauses_without_a_slot_spread_out() -> None:
    assert len({round(slot_retry_seconds(9), 3) for _ in range(50)}) > 20


def test_limit_per_user_is_a_quarter_of_few_activity_slots() -> None:
    slots = AttemptSlots.of(8)
    for number in range(2):
        take(slots, EndpointId(f"end_{number}"))
    assert slots.acquire(ADA, HEALTHY, failing=False) is None
