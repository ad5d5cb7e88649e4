"""Real parts for the activities: each test has a database of its own and an emptied,
quick sandbox.
"""

from collections.abc import AsyncGenerator, Iterator

import pytest

from tests.sandbox.process import Sandbox
from tests.support.activity_harness import ActivityHarness, open_harness
from tests.support.quick_clients import quick_clients
from tests.support.restore_marker import no_restore_marker
from tests.support.servers import FreshDatabase, S3Server


@pytest.fixture(scope="session")
def harness_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("harness-sandbox"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
async def harness(
    fresh_database: FreshDatabase, harness_sandbox: Sandbox, s3_server: S3Server
) -> AsyncGenerator[ActivityHarness]:
    harness_sandbox.reset()
    async with open_harness(fresh_database, harness_sandbox, s3_server) as harness:
        yield harness


@pytest.fixture
async def still(
    fresh_database: FreshDatabase, harness_sandbox: Sandbox, s3_server: S3Server
) -> AsyncGenerator[ActivityHarness]:
    """Activities without a running poller."""
    harness_sandbox.reset()
    async with open_harness(fresh_database, harness_sandbox, s3_server, polling=False) as harness:
        yield harness


__all__ = ["harness", "harness_sandbox", "no_restore_marker", "quick_clients", "still"]
