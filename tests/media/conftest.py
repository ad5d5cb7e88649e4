"""One engine for all tests of media steps, in a scratch folder of its own."""

from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio

from core.media.engine.engine import Engine
from core.media.engine.workspace import EngineWorkspace
from core.platform.settings.media import MediaSettings


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Engine]:
    scratch = tmp_path_factory.mktemp("scratch")
    started = await Engine.start(MediaSettings(media_threads=1, media_scratch_folder=scratch))
    yield started
    started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def workspace(engine: Engine) -> AsyncGenerator[EngineWorkspace]:
    async with engine.workspace(inputs_bytes=0, seconds=3, is_final=False) as opened:
        yield opened
