"""One Cog server for all tests of this folder; it starts in about three seconds."""

from collections.abc import Iterator

import pytest

from tests.cog.server import CogServer
from tests.support.quick_clients import quick_clients as quick_clients


@pytest.fixture(scope="package")
def cog_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CogServer]:
    server = CogServer(tmp_path_factory.mktemp("cog"))
    yield server
    server.stop()
