"""A Temporal server on which a workflow that only waits does not have to."""

from collections.abc import AsyncGenerator

import pytest
from temporalio.client import Client

from tests.workflows.time_skipping import skipping_client


@pytest.fixture(scope="session")
async def skipping_temporal() -> AsyncGenerator[Client]:
    async with skipping_client() as client:
        yield client
