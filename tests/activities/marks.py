"""The high-water mark, for tests: the bucket is everybody's."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from core.store.recovery.restore_marker import MARK_KEY, Mark, write_mark
from tests.activities.bench import Bench


@pytest.fixture
async def no_mark(bench: Bench) -> AsyncGenerator[None]:
    """None before, none left behind."""
    await bench.objects.delete(MARK_KEY)
    yield
    await bench.objects.delete(MARK_KEY)


async def mark(bench: Bench, serial: int) -> None:
    await write_mark(
        bench.objects, Mark(serial=serial, at=datetime.now(UTC), database="the old one")
    )
