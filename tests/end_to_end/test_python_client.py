"""The Python client on the whole stack: its documented examples, and orders with lost answers."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from takeone import Takeone
from tests.end_to_end.losing_proxy import LosingProxy
from tests.end_to_end.world import World
from tests.media.operations import sources
from tests.media.operations.sources import frames_of

pytestmark = pytest.mark.guarantee("G1")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/python"


def examples(page: str) -> list[str]:
    """Return the code of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


async def run(world: World, code: str, folder: Path) -> str:
    """Run code as a program with the settings of the environment. Return what it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PACKAGE),
        "TAKEONE_BASE_URL": world.stack.config.api_url,
        "TAKEONE_API_KEY": world.user.api_key,
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        code,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    assert errors == b""
    return printed.decode()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.timeout(240)
async def test_readme_makes_a_captioned_film_in_ten_lines(world: World, tmp_path: Path) -> None:
    (code,) = examples("clients/python/README.md")
    assert code in examples("README.md")
    assert len([line for line in code.splitlines() if line]) <= 10
    printed = (await run(world, code, tmp_path)).splitlines()
    assert re.fullmatch(r"film\.mp4 0\.\d+ USD", printed[-1]), printed
    assert "completed 100 %" in printed
    assert len(frames_of(tmp_path / "film.mp4")) > 5 * 20
    assert len(await world.bill()) == 2
    assert names_in(tmp_path) == {"film.mp4"}


@pytest.mark.timeout(400)
async def test_examples_of_the_guide_run_one_after_the_other(world: World, tmp_path: Path) -> None:
    sources.ffmpeg(
        tmp_path / "first-frame.png", "-f", "lavfi", "-i", "color=red:s=320x180", "-frames:v", "1"
    )
    printed = await run(world, "\n".join(examples("docs/how-to/python-client.md")), tmp_path)
    assert "max_cost_exceeded" in printed
    assert names_in(tmp_path) == {
        "first-frame.png", "boat.mp4", "drawn.png", "film.mp4", "film.srt", "card-1.png",
        "card-2.png", "boat.png",
    }  # fmt: skip


@pytest.mark.timeout(300)
async def test_lost_answers_buy_one_video(world: World, tmp_path: Path) -> None:
    proxy = LosingProxy(world.stack.config.api_url, "/api/generate-video", lost=2)

    def order(url: str) -> tuple[bool, Path]:
        with Takeone(world.user.api_key, url) as client:
            accepted = client.executions.generate_video(
                prompt="a kite", duration=2, resolution="480p"
            )
            return accepted.replayed, accepted.wait(200).download(tmp_path / "kite.mp4")

    async with proxy.serve() as url:
        replayed, film = await asyncio.to_thread(order, url)
    assert (proxy.left, replayed) == (0, True)
    assert len(frames_of(film)) == 2 * 24
    assert len(await world.bill()) == 2, "one picture and one clip of it"
