"""The high-water mark, for tests: the bucket is everybody's."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from core.store.recovery.restore_marker import MARK_KEY, Mark, write_mark
from tests.support.activity_harness import ActivityHarness


@pytest.fixture
async def no_mark(harness: ActivityHarness) -> AsyncGenerator[None]:
    """None before, none left behind."""
    await harness.objects.delete(MARK_KEY)
    yield
    await harness.objects.delete(MARK_KEY)


async def mark(harness: ActivityHarness, serial: int) -> None:
    await write_mark(
        harness.objects, Mark(serial=serial, at=datetime.now(UTC), database="the old one")
    )
