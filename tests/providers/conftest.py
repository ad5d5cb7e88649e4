from collections.abc import AsyncGenerator, Iterator

import pytest

from core.providers.registry import Providers
from tests.providers.wire import settings
from tests.sandbox.conftest import test_ca as test_ca
from tests.sandbox.process import Receiver, Sandbox
from tests.support.quick_clients import quick_clients as quick_clients


@pytest.fixture(scope="session")
def provider_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("provider-sandbox"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
def sandbox(provider_sandbox: Sandbox) -> Sandbox:
    """Return the session's sandbox, emptied and with short latencies."""
    provider_sandbox.reset()
    return provider_sandbox


@pytest.fixture
async def catalogue(sandbox: Sandbox) -> AsyncGenerator[Providers]:
    async with Providers.open(settings(sandbox.url)) as providers:
        yield providers


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver
