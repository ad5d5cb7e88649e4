"""Room for tries: counted by endpoint and by user; whoever is put back comes again when it is
likely to find some.
"""

from collections.abc import Callable

import pytest

from core.domain.ids import EndpointId, UserId
from core.platform.temporal.policies import PUT_BACK_MAX_SECONDS, PUT_BACK_MIN_SECONDS
from core.webhooks.concurrency import EndpointRooms, PutBack

ADA, BOB = UserId("usr_ada"), UserId("usr_bob")
DEAD, WELL = EndpointId("end_dead"), EndpointId("end_well")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rooms(clock: Clock) -> EndpointRooms:
    return EndpointRooms(per_user=12, per_endpoint=10, per_failing_endpoint=2, clock=clock)


def enter(
    rooms: EndpointRooms, endpoint: str, user_id: UserId = ADA, *, failing: bool = False
) -> Callable[[], None]:
    entered = rooms.enter(user_id, EndpointId(endpoint), failing=failing)
    assert not isinstance(entered, PutBack)
    return entered


def put_back(
    rooms: EndpointRooms, endpoint: str, user_id: UserId = ADA, *, failing: bool = False
) -> float:
    entered = rooms.enter(user_id, EndpointId(endpoint), failing=failing)
    assert isinstance(entered, PutBack)
    return entered.seconds


@pytest.mark.parametrize(("failing", "limit"), [(False, 10), (True, 2)])
def test_endpoint_has_so_many_tries_at_once_and_no_more(
    rooms: EndpointRooms, failing: bool, limit: int
) -> None:
    leaves = [enter(rooms, DEAD, failing=failing) for _ in range(limit)]
    put_back(rooms, DEAD, failing=failing)
    enter(rooms, WELL)
    leaves[0]()
    enter(rooms, DEAD, failing=failing)
    put_back(rooms, DEAD, failing=failing)


def test_user_with_many_endpoints_leaves_room_to_others(rooms: EndpointRooms) -> None:
    leaves = [enter(rooms, f"end_{number}") for number in range(12)]
    put_back(rooms, "end_12")
    enter(rooms, "end_of_bob", BOB)
    leaves[0]()
    enter(rooms, "end_12")


def test_who_is_put_back_waits_as_long_as_those_before_it_take(
    rooms: EndpointRooms, clock: Clock
) -> None:
    """A hundred for a receiver that takes ten seconds for each of two at once: spread over the next
    minutes.
    """
    for _ in range(20):
        leaves = [enter(rooms, DEAD, failing=True) for _ in range(2)]
        clock.now += 10
        for leave in leaves:
            leave()
    for _ in range(2):
        enter(rooms, DEAD, failing=True)
    waits = [put_back(rooms, DEAD, failing=True) for _ in range(100)]
    assert 4 <= waits[0] <= 5 * 1.25
    assert 10 * 4.5 <= waits[9] <= 10 * 5 * 1.25
    assert max(waits) <= PUT_BACK_MAX_SECONDS * 1.25
    assert min(waits[70:]) >= PUT_BACK_MAX_SECONDS * 0.9
    assert len({round(wait, 3) for wait in waits[70:]}) > 20  # not all at once again
    clock.now += PUT_BACK_MAX_SECONDS
    assert put_back(rooms, DEAD, failing=True) <= 10


def test_who_is_put_back_behind_quick_ones_comes_again_soon(
    rooms: EndpointRooms, clock: Clock
) -> None:
    for _ in range(30):
        leave = enter(rooms, WELL)
        clock.now += 0.05
        leave()
    for _ in range(10):
        enter(rooms, WELL)
    for _ in range(40):
        assert PUT_BACK_MIN_SECONDS <= put_back(rooms, WELL) <= PUT_BACK_MIN_SECONDS * 1.5


def test_rooms_of_endpoints_that_are_idle_are_forgotten(rooms: EndpointRooms) -> None:
    for number in range(5000):
        enter(rooms, f"end_{number}", UserId(f"usr_{number}"))()
    kept = [vars(rooms)[name] for name in ("_endpoints", "_users")]
    assert all(len(found) <= 1001 for found in kept)
