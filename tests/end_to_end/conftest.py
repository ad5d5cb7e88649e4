"""One whole stack for all tests here, on free ports, in a folder of its own."""

import os
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from deploy.local.config import Config
from deploy.local.stack import Stack, prepared
from tests.end_to_end.world import World
from tests.support.quick_clients import quick_clients as quick_clients
from tests.support.stack_ports import free_receivers, free_stack_ports

FAST_HORIZONS = {
    "FAL_START_DEADLINE_SECONDS": "1",
    "FAL_IMAGE_START_DEADLINE_SECONDS": "1",
    "FAL_IMAGE_HORIZON_SECONDS": "6",
    "FAL_HORIZON_SECONDS": "6",
    "REPLICATE_HORIZON_SECONDS": "6",
    "LOOKUP_CONFIRM_SECONDS": "1",
    "USUAL_IMAGE_SECONDS": "1",
    "USUAL_VIDEO_SECONDS": "1",
}
"""The sandbox's lists have no lag, so a few seconds without a match are certainty here. Its jobs
take seconds, so a lost callback is noticed within seconds.
"""


@pytest.fixture(scope="package")
async def stack() -> AsyncGenerator[Stack]:
    """Run a stack until the last test of this folder: even an idle one takes processor time."""
    with tempfile.TemporaryDirectory(prefix="takeone-e2e-", ignore_cleanup_errors=True) as name:
        os.chmod(
            name, 0o711
        )  # PostgreSQL's own system user has to get in when the tests run as root
        async with prepared(
            Config(
                folder=Path(name),
                ports=free_stack_ports(),
                live=None,
                receivers=free_receivers(),
                encrypt_payloads=True,
            ),
            lambda _line: None,
        ) as stack:
            stack.environment |= {**FAST_HORIZONS, "LOG_LEVEL": "DEBUG"}
            await stack.start()
            yield stack


@pytest.fixture
async def world(stack: Stack) -> AsyncGenerator[World]:
    """A user of its own, and a sandbox without faults or jobs of other tests."""
    async with World.open(stack) as world:
        answer = await world.control.post("/reset")
        assert answer.is_success, answer.text
        await world.settings(tiny_media=True, image_seconds=0.3, video_seconds=1.0)
        yield world
