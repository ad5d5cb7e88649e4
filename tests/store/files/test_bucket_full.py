"""A disk that is full: object storage's."""

import pytest

from tests.support.small_disk import disk_folder, run_on_small_disk

pytestmark = pytest.mark.guarantee("G5")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_bucket_without_room_shows_nothing_and_takes_the_file_when_there_is_some() -> None:
    with disk_folder() as folder:
        told = run_on_small_disk("tests.store.files.bucket_full", folder, size="400m", seconds=280)

    assert told == "full, and then stored\n"
