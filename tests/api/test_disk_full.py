"""PostgreSQL's disk is full: orders are refused clearly, nothing is half-written, and it goes on with room."""

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.small_disk import run_on_small_disk


@pytest.fixture
def folder() -> Generator[Path]:
    """Where PostgreSQL's own system user can enter too, when the tests run as root."""
    outer = Path(tempfile.mkdtemp(prefix="takeone-disk-"))
    outer.chmod(0o711)
    inner = outer / "disk"
    inner.mkdir()
    yield inner
    shutil.rmtree(outer, ignore_errors=True)


@pytest.mark.long
def test_disk_of_postgresql_that_is_full_loses_nothing_and_halves_nothing(folder: Path) -> None:
    told = run_on_small_disk("tests.api.disk_full", folder, size="160m", seconds=110)

    assert [line.partition(":")[0] for line in told.splitlines()] == [
        "tables could not grow",
        "its log could not go on",
        "room was made",
    ]
