"""A disk that is full: PostgreSQL's, under the API. Orders are refused, none is half-written, and
it goes on.
"""

import pytest

from tests.support.small_disk import disk_folder, run_on_small_disk

pytestmark = pytest.mark.guarantee("G5")


@pytest.mark.long
def test_disk_of_postgresql_that_is_full_loses_nothing_and_halves_nothing() -> None:
    with disk_folder() as folder:
        told = run_on_small_disk("tests.api.disk_full", folder, size="160m", seconds=110)

    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "tables could not grow",
        "its log could not go on",
        "room was made",
    ]
