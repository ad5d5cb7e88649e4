"""OpenAI's clients repeat an order whose answer is lost, and buy one video by the bill."""

import os
import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest

from tests.end_to_end.losing_proxy import LosingProxy
from tests.end_to_end.openai_clients import (
    Client,
    NodeClient,
    PythonClient,
    install_node_client,
)
from tests.end_to_end.world import PROMPT, World
from tests.media.operations import sources
from tests.support.media_files import picture

pytestmark = [
    pytest.mark.guarantee("G1"),
    pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning"),
    pytest.mark.timeout(300),
]

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/how-to/openai-clients.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path | str:
    """Return the folder with the client for Node, or why it cannot be installed."""
    folder = tmp_path_factory.mktemp("node")
    return install_node_client(folder) or folder


@asynccontextmanager
async def client_of(name: str, package: Path | str, url: str, key: str) -> AsyncGenerator[Client]:
    if name == "python":
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key) as client:
            yield PythonClient(client=client)
        return
    if isinstance(package, str):
        pytest.skip(package)
    async with NodeClient.run(package, f"{url}/v1", key) as node:
        yield node


@pytest.mark.parametrize("with_picture", [False, True])
@pytest.mark.parametrize("name", ["python", "node"])
async def test_lost_answers_buy_one_video(
    world: World, package: Path | str, name: str, with_picture: bool
) -> None:
    proxy = LosingProxy(world.stack.config.api_url, "/v1/videos", lost=2)
    content = picture("PNG") if with_picture else None
    async with (
        proxy.serve() as url,
        client_of(name, package, url, world.user.api_key) as client,
    ):
        video = await client.create(prompt=PROMPT, seconds="2", size="480x854", picture=content)
    assert proxy.left == 0, "both answers were lost"
    await world.ended(video["id"], seconds=90)
    await world.check_bought({video["id"]: 1 if with_picture else 2})


async def test_equal_orders_without_a_loss_are_two_videos(world: World) -> None:
    url = f"{world.stack.config.api_url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=world.user.api_key) as client:
        buyer = PythonClient(client=client)
        ids = {(await buyer.create(prompt=PROMPT, seconds="2"))["id"] for _ in range(2)}
    assert len(ids) == 2


def examples(language: str) -> str:
    """Return the code of the guide in a language."""
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return "\n".join(blocks)


def run(world: World, folder: Path, *command: str) -> str:
    """Run a program with the settings of the environment. Return what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "OPENAI_BASE_URL": f"{world.stack.config.api_url}/v1",
        "OPENAI_API_KEY": world.user.api_key,
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("language", ["python", "javascript"])
async def test_examples_of_the_guide_run(
    world: World, package: Path | str, tmp_path: Path, language: str
) -> None:
    folder = tmp_path
    if language == "javascript":
        if isinstance(package, str):
            pytest.skip(package)
        folder = package
    sources.ffmpeg(
        folder / "first-frame.png", "-f", "lavfi", "-i", "color=red:s=320x180", "-frames:v", "1"
    )
    code = examples(language)
    if language == "python":
        printed = run(world, folder, sys.executable, "-W", "ignore::DeprecationWarning", "-c", code)
        lines = printed.splitlines()
        assert lines[0] == "completed bytedance/seedance-1-pro 0.063", printed
        assert lines[-2] == "True", printed
        assert re.fullmatch(r"402 max_cost_exceeded req_[0-9a-f]{32}", lines[-1]), printed
        assert {"boat.mp4", "boat.jpg"} <= {path.name for path in folder.iterdir()}
    else:
        (folder / "guide.mjs").write_text(code, encoding="utf-8")
        run(world, folder, "node", "guide.mjs")
        assert (folder / "sails-on.mp4").stat().st_size > 1000
