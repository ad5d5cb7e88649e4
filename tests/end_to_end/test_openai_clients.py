"""The OpenAI clients for Python and Node on the whole stack: each check with both of them."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from deploy.local.stack import Stack
from tests.end_to_end.openai_clients import (
    Client,
    NodeClient,
    PythonClient,
    install_node_client,
)
from tests.end_to_end.world import PROMPT, World

pytestmark = [
    pytest.mark.guarantee("G1"),
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
    pytest.mark.timeout(240),
]

SMALL = {"seconds": "2", "size": "480x854"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A user, and a client that is used for all checks of this file."""

    world: World
    client: Client

    async def order(self, picture: bytes | None = None, **fields: Any) -> dict[str, Any]:
        return await self.client.create(picture=picture, **{"prompt": PROMPT, **SMALL, **fields})

    async def ended(self, video_id: str) -> dict[str, Any]:
        await self.world.ended(video_id)
        return await self.client.retrieve(video_id)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """Return the folder with the client for Node, or why it cannot be installed."""
    folder = tmp_path_factory.mktemp("node")
    return install_node_client(folder) or folder


@pytest.fixture(scope="module", params=["python", "node"])
async def shop(
    request: pytest.FixtureRequest, stack: Stack, package: Path | str
) -> AsyncGenerator[Shop]:
    async with World.open(stack) as world:
        answer = await world.control.post("/reset")
        assert answer.is_success
        await world.settings(tiny_media=True, image_seconds=0.3, video_seconds=0.5)
        url, key = f"{stack.config.api_url}/v1", world.user.api_key
        if request.param == "python":
            async with openai.AsyncOpenAI(base_url=url, api_key=key) as client:
                yield Shop(world=world, client=PythonClient(client=client))
            return
        if isinstance(package, str):
            pytest.skip(package)
        async with NodeClient.run(package, url, key) as node:
            yield Shop(world=world, client=node)


async def test_an_order_completes_as_ordered(shop: Shop) -> None:
    video = await shop.order(metadata={"orderId": "A-1"}, max_cost="1.00", seed=7)
    assert (video["object"], video["status"]) == ("video", "queued")
    assert (video["seconds"], video["size"]) == ("2", "480x854")
    done = await shop.ended(video["id"])
    assert (done["status"], done["progress"], done["error"]) == ("completed", 100, None)
    assert (done["prompt"], done["metadata"]) == (PROMPT, {"orderId": "A-1"})
    assert video["created_at"] <= done["completed_at"]
    await shop.world.check_money(video["id"])
