"""A Temporal server on which a workflow that only waits does not have to."""

from collections.abc import AsyncGenerator, Iterator

import pytest
from temporalio.client import Client

from tests.workflows.time_skipping import skipping_client


@pytest.fixture(scope="package", autouse=True)
def any_time_for_activations() -> Iterator[None]:
    """Let workflow code take more than two seconds of a busy machine.

    The worker would interrupt it wherever it is then, for example in a callback of the garbage
    collector, where the error reaches no caller.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEMPORAL_DEBUG", "1")
        yield


@pytest.fixture(scope="session")
async def skipping_temporal() -> AsyncGenerator[Client]:
    async with skipping_client() as client:
        yield client
