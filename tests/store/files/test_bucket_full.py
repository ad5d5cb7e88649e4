"""Object storage on a full disk."""

import pytest

from tests.support.small_disk import disk_folder, run_on_small_disk

pytestmark = pytest.mark.guarantee("G5")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_full_bucket_shows_no_object_until_space_is_freed() -> None:
    with disk_folder() as folder:
        output = run_on_small_disk(
            "tests.store.files.bucket_full", folder, size="400m", seconds=280
        )

    assert output == "full, and then stored\n"
