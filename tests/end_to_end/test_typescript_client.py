"""The TypeScript client on the whole stack, run by Node: its tests and its documented examples."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.world import World
from tests.media.operations import sources
from tests.support.node import PACKAGE, ROOT, needs_node, run_node, run_tests
from tests.typescript import generate


def examples(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```ts\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def settings_of(world: World) -> dict[str, str]:
    return {
        "TAKEONE_BASE_URL": world.stack.config.api_url,
        "TAKEONE_API_KEY": world.user.api_key,
    }


@needs_node
@pytest.mark.guarantee("G1")
@pytest.mark.timeout(300)
async def test_typescript_client_passes_its_tests(world: World, tmp_path: Path) -> None:
    settings = {**settings_of(world), "WEBHOOK": world.receiver.url}
    assert await run_tests(tmp_path, "client.test.mjs", **settings) == 3
    images = [item for item in await world.bill() if "flux" in str(item)]
    assert len(images) == 1, "two lost answers, one picture"


@needs_node
@pytest.mark.timeout(300)
async def test_typescript_waits_survive_cut_and_refused_streams(
    world: World, tmp_path: Path
) -> None:
    programs = ("streams.test.mjs", "proxy.mjs")
    assert await run_tests(tmp_path, *programs, **settings_of(world)) == 7


@needs_node
@pytest.mark.timeout(300)
async def test_typescript_client_survives_a_killed_api(world: World, tmp_path: Path) -> None:
    await world.settings(video_seconds=6.0)
    execution_id = await world.generate()
    settings = {**settings_of(world), "EXECUTION": execution_id}
    waiting = asyncio.create_task(run_tests(tmp_path, "restart.test.mjs", **settings))
    await world.until(execution_id, job="video", state="submitted", seconds=60)
    before = world.stack.pid_of("API")
    os.kill(before, signal.SIGKILL)
    assert await waiting == 1
    assert world.stack.pid_of("API") != before
    assert len(await world.bill()) == 2


@needs_node
@pytest.mark.timeout(300)
async def test_typescript_builders_make_every_kind_of_step(world: World, tmp_path: Path) -> None:
    assert await run_tests(tmp_path, "kinds.test.mjs", **settings_of(world)) == 2
    assert len(await world.bill()) == 9, "seven steps, a speech and its transcript"


@needs_node
@pytest.mark.timeout(300)
async def test_typescript_examples_run_one_after_the_other(world: World, tmp_path: Path) -> None:
    color = ("-f", "lavfi", "-i", "color=red:s=320x180", "-frames:v", "1")
    sources.ffmpeg(tmp_path / "first-frame.png", *color)
    (tmp_path / "guide.mjs").write_text("\n".join(examples("docs/how-to/typescript-client.md")))
    printed = await run_node(tmp_path, "guide.mjs", **settings_of(world))
    assert "max_cost_exceeded" in printed
    assert re.search(r"^end \d+$", printed, re.MULTILINE), printed
    assert (tmp_path / "boat.mp4").stat().st_size > 0


@needs_node
@pytest.mark.timeout(300)
async def test_typescript_readme_example_makes_a_video(world: World, tmp_path: Path) -> None:
    (code,) = examples("clients/typescript/README.md")
    (tmp_path / "readme.mjs").write_text(code)
    printed = await run_node(tmp_path, "readme.mjs", **settings_of(world))
    assert re.search(r"^http\S+ 0\.\d+ USD$", printed, re.MULTILINE), printed


def test_typescript_types_are_current() -> None:
    written = (generate.TYPES / "schema.d.ts").read_text(encoding="utf-8")
    assert written.startswith(generate.header()), f"run {generate.COMMAND} and commit the types"
    assert {path.name for path in generate.TYPES.iterdir()} == set(generate.files())


@needs_node
@pytest.mark.skipif(
    not (generate.BIN / "tsc").exists(),
    reason="no TypeScript compiler: `python -m tests.typescript.generate` installs it",
)
def test_typescript_sources_and_types_pass_the_compiler(tmp_path: Path) -> None:
    copied = shutil.copytree(PACKAGE, tmp_path / "takeone")
    shutil.rmtree(copied / "types")
    generate.generate(copied / "types")
    for name in generate.files():
        assert (copied / "types" / name).read_text() == (generate.TYPES / name).read_text()


@needs_node
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
def test_npm_package_installs_alone(tmp_path: Path) -> None:
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=tmp_path, check=True)
    (packed,) = tmp_path.glob("takeone-*.tgz")
    installed = tmp_path / "node_modules/takeone"
    installed.mkdir(parents=True)
    strip = ["tar", "--extract", "--file", packed, "--strip-components", "1"]
    subprocess.run([*strip, "--directory", installed], check=True)
    code = 'import("takeone").then((it) => console.log(it.VERSION))'
    used = subprocess.run(["node", "-e", code], cwd=tmp_path, check=True, capture_output=True)
    assert used.stdout.strip() == b"0.1.0"
    assert (installed / "types/index.d.ts").exists()
