"""The fault run of a film: its positions, its traps and its verdicts."""

from collections import Counter

import pytest

from core.media.operations.registry import OPERATIONS
from tests.chaos.film.plan import FILM, MEDIA, PAID, STEPS, step_of_token, step_token
from tests.chaos.film.positions import POSITIONS, Position, evenly, itineraries, with_earlier
from tests.chaos.film.traps import FilmTraps
from tests.chaos.film.verdicts import Film

JOB, EXECUTION = f"job_{'1' * 32}", f"exec_{'2' * 32}"
WORKER = "Worker 1"


def film(number: int = 1) -> Film:
    return Film(
        number=number,
        bill={step: [("a model", 5)] for step in PAID},
        files={f"{step}/0": step for step in STEPS},
        result_sha256="same",
    )


def test_film_has_twelve_steps_and_enough_positions() -> None:
    plan = FILM.body("chaos-000003")["plan"]
    assert [step["name"] for step in plan["steps"]] == list(STEPS)
    assert len(STEPS) == 12
    assert {step["kind"] for step in plan["steps"]} >= {"image", "video", "audio", "merge"}
    assert len(POSITIONS) >= 120
    assert all(step_of_token(step_token(3, step)) == (3, step) for step in PAID)


def test_media_steps_of_the_film_are_operations() -> None:
    kinds = {step["name"]: step["kind"] for step in FILM.body("chaos-000003")["plan"]["steps"]}
    assert {kinds[step] for step in MEDIA} <= set(OPERATIONS)


def test_every_position_is_met_by_one_film() -> None:
    plans = itineraries(POSITIONS, 4)
    met = [position for plan in plans for position in plan]
    assert len(met) == len(POSITIONS)
    assert set(met) == set(POSITIONS)
    assert max(map(len, plans)) == 4
    assert len(set(evenly(POSITIONS, 24))) == 24


def test_delivered_file_is_stored_alone_after_a_kill() -> None:
    alone = Position("voice", "commit:asset")
    assert with_earlier([alone]) == {alone, Position("voice", "committed:answer")}
    other = Position("film", "commit:asset")
    assert with_earlier([other]) == {other}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bill": {step: [("a model", 5)] * 2 for step in PAID}}, "extra paid 6"),
        ({"bill": {step: [("a model", 6)] for step in PAID}}, "another bill"),
        ({"files": {"film/0": "other"}}, "other bytes"),
        ({"result_sha256": "other"}, "another result"),
        ({"again": Counter(film=1)}, "computed again: film"),
        ({"broken": ["failed"]}, "failed"),
    ],
)
def test_each_fault_of_a_film_is_named(change: dict[str, object], said: str) -> None:
    other = film(2)
    for name, value in change.items():
        setattr(other, name, value)
    assert said in "; ".join(other.faults(film()))
    assert film(2).faults(film()) == []


class Moments:
    """Reports moments of one media step at a worker."""

    def __init__(self, position: Position) -> None:
        self.traps = FilmTraps()
        self.traps.know(JOB, EXECUTION, (1, "film"))
        self.traps.pending[1] = {position}

    def meet(self, moment: str, token: str = JOB) -> bool:
        return self.traps.meet(WORKER, moment, frozenset({token}), lambda _: None)


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> Moments:
    return Moments(Position("film", request.param))


@pytest.mark.parametrize("moments", ["commit:asset"], indirect=True)
def test_position_is_held_once_and_at_a_living_worker(moments: Moments) -> None:
    moments.traps.down.add(WORKER)
    assert not moments.meet("commit:asset")
    moments.traps.down.clear()
    assert not moments.meet("commit:content")
    assert moments.meet("commit:asset")
    assert not moments.meet("commit:asset")
    (held,) = moments.traps.take(WORKER)
    assert (held.film, held.position) == (1, Position("film", "commit:asset"))


@pytest.mark.parametrize("moments", ["telling"], indirect=True)
def test_activity_end_after_the_files_is_a_position(moments: Moments) -> None:
    told = "rpc:RespondActivityTaskCompleted"
    assert not moments.meet(told, EXECUTION)
    assert not moments.meet("committed:asset")
    assert moments.meet(told, EXECUTION)


@pytest.mark.parametrize("moments", ["commit:intent"], indirect=True)
def test_work_after_the_end_counts_as_computed_again(moments: Moments) -> None:
    moments.meet("commit:content")
    moments.meet("committed:content")
    moments.meet("committed:asset")
    assert moments.traps.computed[1, "film"] == 1
    assert not moments.traps.again
    moments.meet("commit:content")
    assert moments.traps.again[1, "film"] == 1
