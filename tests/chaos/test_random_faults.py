"""The random fault mix: repeatable by seed, and made of faults that the sandbox offers."""

from random import Random

import pytest

from sandbox.faults.book import FaultBook
from tests.chaos.random_faults import schedule
from tests.chaos.read_faults import FILE_FAULTS, READ_FAULTS, SPEECH_FAULTS, name_of

FAULTS = READ_FAULTS + FILE_FAULTS + SPEECH_FAULTS


def test_same_seed_gives_the_same_schedule() -> None:
    assert schedule(Random(11), 240) == schedule(Random(11), 240)
    assert schedule(Random(11), 240) != schedule(Random(12), 240)


def test_long_schedule_contains_every_faulty_read() -> None:
    targets = {fault.target for fault in schedule(Random(11), 3600) if fault.fault is not None}
    assert targets == {name_of(fault) for fault in FAULTS}
    assert len(targets) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=name_of)
def test_sandbox_offers_the_faulty_read(fault: dict[str, object]) -> None:
    assert FaultBook().add(dict(fault)).operation == fault["operation"]
