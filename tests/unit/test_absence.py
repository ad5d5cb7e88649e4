"""The proof of absence: which looks at a provider's list count."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from core.domain.ids import ProviderJobId
from core.jobs.lookups.absence import LOOKS_APART_SECONDS, AbsenceProof
from core.platform.clock import ClockOffset
from core.providers.port import FindAnswer

pytestmark = pytest.mark.guarantee("G1")

SENT = datetime(2026, 11, 22, 10, tzinfo=UTC)
HORIZON = 300.0


class Search:
    """Looks at a list. Times are seconds after the send; the boot clock reads 0 at the send."""

    def __init__(self) -> None:
        self.proof = AbsenceProof()

    @classmethod
    def resumed(cls, details: Mapping[str, object]) -> "Search":
        """Return the search of a next try of the first send."""
        search, offset = cls(), SENT.timestamp()
        search.proof = AbsenceProof.resumed([details], 1, ClockOffset(offset, offset))
        return search

    def look(
        self,
        at: float,
        *,
        ahead: float = 0.0,
        provider_ahead: float | None = 0.0,
        complete: bool = True,
        doubtful: tuple[str, ...] = (),
        owned: tuple[str, ...] = (),
        sent_until: datetime = SENT,
        horizon_seconds: float = HORIZON,
        settled_seconds: float | None = None,
        answer_seconds: float = 0.0,
    ) -> bool:
        """Look once. ahead, provider_ahead: of the database's and the provider's clock."""
        true = SENT.timestamp()
        clock = None
        if provider_ahead is not None:
            shown = true + provider_ahead
            clock = ClockOffset(shown - 0.5 - answer_seconds, shown + 0.5)
        answer = FindAnswer(
            matches=(),
            doubtful=tuple(map(ProviderJobId, doubtful)),
            authoritative=complete,
            looked_at=float(at),
            clock=clock,
        )
        database = ClockOffset(true + ahead, true + ahead)
        return self.proof.add(
            answer,
            owned,
            database,
            sent_until=sent_until,
            horizon_seconds=horizon_seconds,
            settled_seconds=settled_seconds,
        )


def test_two_looks_a_minute_apart_prove_absence_past_the_horizon() -> None:
    search = Search()
    assert not search.look(240)
    assert not search.look(299)
    assert search.look(301)


def test_single_look_past_the_horizon_proves_nothing() -> None:
    search = Search()
    assert not search.look(1000)
    assert not search.look(1059)
    assert search.look(1060)


@pytest.mark.parametrize("ahead", [6.0, 45.0, 3600.0, -6.0, -3600.0])
def test_clock_that_differs_from_the_provider_proves_nothing(ahead: float) -> None:
    search = Search()
    assert not any(search.look(at, ahead=ahead) for at in range(0, 10_000, 30))


def test_provider_without_a_clock_proves_nothing() -> None:
    search = Search()
    assert not any(search.look(at, provider_ahead=None) for at in range(0, 1000, 30))


@pytest.mark.parametrize("step", [-3600.0, 120.0, 3600.0])
def test_clock_step_counts_the_horizon_from_the_first_look(step: float) -> None:
    """The clock is set between two looks, together with the provider's or before its Date."""
    search = Search()
    assert not search.look(10)
    assert not search.look(71, ahead=step, provider_ahead=step)
    assert not search.look(309, ahead=step, provider_ahead=step)
    assert search.look(311, ahead=step, provider_ahead=step)


def test_corrected_clock_counts_the_horizon_from_the_first_look() -> None:
    """A send dated ten minutes too early is not old once the clock is right."""
    search = Search()
    early = datetime.fromtimestamp(SENT.timestamp() - 600, UTC)
    assert not search.look(10, ahead=-600, sent_until=early)
    assert not search.look(20, sent_until=early)
    assert not search.look(100, sent_until=early)
    assert search.look(311, sent_until=early)


def test_slow_answer_proves_nothing_and_casts_no_doubt() -> None:
    """Its Date is too inexact to compare; the next answers show that the clocks agree."""
    search = Search()
    assert not search.look(10, answer_seconds=8)
    assert not search.look(20)
    assert not search.look(301, answer_seconds=8)
    assert search.look(302)


def test_time_of_the_deciding_look_is_known() -> None:
    search = Search()
    assert search.proof.due_at is None
    search.look(100)
    assert search.proof.due_at == HORIZON
    late = Search()
    late.look(400)
    assert late.proof.due_at == 400 + LOOKS_APART_SECONDS


@pytest.fixture
def kept() -> dict[str, object]:
    """Return what a lost try leaves after its look at 290 s, as Temporal returns it."""
    search = Search()
    search.look(290)
    (details,) = json.loads(json.dumps(search.proof.to_details(1)))
    return details


def test_next_try_continues_the_proof_of_a_lost_one(kept: dict[str, object]) -> None:
    search = Search.resumed(kept)
    assert not search.look(349)
    assert search.look(350)


@pytest.mark.parametrize(
    "changed",
    [
        {"boot": "another"},
        {"boot": ""},
        {"send": 2},
        {"absent_at": "290"},
        {"low": SENT.timestamp() + 60, "high": SENT.timestamp() + 60},  # a copied machine
    ],
)
def test_looks_of_another_boot_send_or_form_do_not_count(
    kept: dict[str, object], changed: dict[str, object]
) -> None:
    search = Search.resumed(kept | changed)
    assert not search.look(350)
    assert not search.look(409)
    assert search.look(410)


def test_doubt_of_a_lost_try_stays() -> None:
    search = Search()
    search.look(10, ahead=60)
    search.look(20)
    search = Search.resumed(search.proof.to_details(1)[0])
    assert not search.look(309)
    assert search.look(311)


def test_incomplete_or_ambiguous_list_proves_nothing() -> None:
    search = Search()
    assert not search.look(310, complete=False)
    assert not search.look(400, doubtful=("p1", "p2"), owned=("p1",))
    assert not search.look(500)
    assert search.look(560, doubtful=("p1",), owned=("p1",))


def test_unknown_horizon_proves_nothing() -> None:
    search = Search()
    assert not any(search.look(at, horizon_seconds=0) for at in (100, 1000, 10_000))


def test_horizon_counts_from_the_latest_time_of_the_send() -> None:
    search = Search()
    until = datetime.fromtimestamp(SENT.timestamp() + 1200, UTC)
    assert not search.look(310, sent_until=until)
    assert not search.look(1499, sent_until=until)
    assert search.look(1501, sent_until=until)


def test_list_that_has_caught_up_needs_no_lag() -> None:
    search = Search()
    assert not search.look(1)
    assert not search.look(99, settled_seconds=100)
    assert not search.look(101)
    assert search.look(102, settled_seconds=100)


def test_doubtful_send_waits_for_the_whole_horizon() -> None:
    search = Search()
    assert not search.look(0, ahead=60)
    assert not search.look(100, settled_seconds=100)
    assert not search.look(299, settled_seconds=100)
    assert search.look(301, settled_seconds=100)
