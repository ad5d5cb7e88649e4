"""Restore markers for tests, which share one bucket."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import pytest

from core.store.recovery.restore_marker import MARKER_KEY, RestoreMarker, read_marker, write_marker
from tests.support.activity_harness import ActivityHarness


@pytest.fixture
async def no_restore_marker(harness: ActivityHarness) -> AsyncGenerator[None]:
    """Delete the restore marker before and after the test."""
    await harness.objects.delete(MARKER_KEY)
    yield
    await harness.objects.delete(MARKER_KEY)


async def put_marker(harness: ActivityHarness, serial: int) -> None:
    """Write a restore marker with this serial."""
    before = await read_marker(harness.objects)
    await write_marker(
        harness.objects,
        RestoreMarker(serial=serial, at=datetime.now(UTC), database="the old one"),
        replaces=before.version if before is not None else None,
    )
