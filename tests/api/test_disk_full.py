"""A full disk of PostgreSQL: orders are refused, none is half-written, and the API recovers."""

import pytest

from tests.support.small_disk import disk_folder, run_on_small_disk

pytestmark = pytest.mark.guarantee("G5")


@pytest.mark.long
def test_full_postgresql_disk_loses_and_truncates_nothing() -> None:
    with disk_folder() as folder:
        output = run_on_small_disk("tests.api.disk_full", folder, size="160m", seconds=110)

    assert [line.partition(":")[0] for line in output.splitlines()] == [
        "tables could not grow",
        "the log could not grow",
        "space was freed",
    ]
