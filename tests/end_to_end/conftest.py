"""One whole stack for all tests here, on free ports, in a folder of its own."""

import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from deploy.local.config import Config
from deploy.local.ports import free_ports
from deploy.local.stack import Stack, prepared
from tests.api.issuing import AUDIENCE
from tests.cog.models import models_file
from tests.cog.server import TOKEN, CogServer
from tests.end_to_end.world import World
from tests.support.folders import data_folder
from tests.support.quick_clients import quick_clients as quick_clients
from tests.support.stack_ports import free_receivers, free_stack_ports

FAST_HORIZONS = {
    "FAL_START_DEADLINE_SECONDS": "9",
    "FAL_IMAGE_START_DEADLINE_SECONDS": "3",
    "FAL_IMAGE_HORIZON_SECONDS": "6",
    "FAL_HORIZON_SECONDS": "10",
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
    with data_folder("takeone-e2e-") as folder:
        async with prepared(
            Config(
                folder=folder,
                ports=free_stack_ports(),
                live=None,
                receivers=free_receivers(),
                encrypt_payloads=True,
            ),
            lambda _line: None,
        ) as stack:
            own_models = folder / "cog"
            own_models.mkdir()
            port, issuer_port = free_ports(2)
            stack.environment |= {
                **FAST_HORIZONS,
                "LOG_LEVEL": "DEBUG",
                "MEDIA_POSTERS": "false",
                "COG_MODELS_FILE": str(models_file(own_models, f"http://127.0.0.1:{port}")),
                "COG_WEBHOOK_TOKEN": TOKEN,
                "COG_LOST_SECONDS": "6",
                # Another site than the API's for the cookies of a browser.
                "OIDC_ISSUER": f"http://localhost:{issuer_port}",
                "OIDC_AUDIENCE": AUDIENCE,
                "OIDC_CLIENT_ID": "console",
            }
            await stack.start()
            yield stack


@pytest.fixture(scope="package")
def cog_server(stack: Stack) -> Iterator[CogServer]:
    """Start the server of the stack's own models, for the tests that need it."""
    file = Path(stack.environment["COG_MODELS_FILE"])
    (port,) = set(re.findall(r"http://127\.0\.0\.1:(\d+)", file.read_text(encoding="utf-8")))
    server = CogServer(file.parent, port=int(port))
    yield server
    server.stop()


@pytest.fixture
async def world(stack: Stack) -> AsyncGenerator[World]:
    """A user of its own, and a sandbox without faults or jobs of other tests."""
    async with World.open(stack) as world:
        answer = await world.control.post("/reset")
        assert answer.is_success, answer.text
        await world.settings(tiny_media=True, image_seconds=0.3, video_seconds=1.0)
        yield world
