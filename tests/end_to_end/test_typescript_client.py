"""The TypeScript client on the whole stack, run by Node: its tests and its documented examples."""

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

from tests.end_to_end.world import World
from tests.media.operations import sources
from tests.typescript import generate

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/typescript"
TESTS = ROOT / "tests/typescript/client.test.mjs"
SECRET = f"whsec_{base64.b64encode(b'a secret of this test alone').decode()}"


@cache
def node_version() -> tuple[int, int]:
    if shutil.which("node") is None:
        return (0, 0)
    printed = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    major, minor, *_ = re.findall(r"\d+", printed.stdout)
    return (int(major), int(minor))


needs_node = pytest.mark.skipif(node_version() < (20, 3), reason="there is no Node 20.3 or newer")


def examples(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```ts\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


async def run(world: World, folder: Path, *arguments: str | Path, **settings: str) -> str:
    """Run Node in a folder where the package is installed. Return what it prints."""
    modules = folder / "node_modules"
    modules.mkdir()
    (modules / "takeone").symlink_to(PACKAGE)
    program = await asyncio.create_subprocess_exec(
        "node",
        *arguments,
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "TAKEONE_BASE_URL": world.stack.config.api_url,
            "TAKEONE_API_KEY": world.user.api_key,
            **settings,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await program.communicate()
    assert program.returncode == 0, printed.decode()
    return printed.decode()


@needs_node
@pytest.mark.guarantee("G1")
@pytest.mark.timeout(300)
async def test_typescript_client_passes_its_tests(world: World, tmp_path: Path) -> None:
    body = json.dumps({"id": "evt_1", "type": "execution.completed", "timestamp": "…"})
    now = int(time.time())
    at = datetime.fromtimestamp(now, UTC)
    headers = {
        "Webhook-Id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": f"v1,bm90IHRoaXMgb25l {Webhook(SECRET).sign('evt_1', at, body)}",
    }
    copied = shutil.copy(TESTS, tmp_path)
    signed = json.dumps({"headers": headers, "body": body})
    settings = {"SIGNED": signed, "ACCOUNT_SECRET": SECRET, "WEBHOOK": world.receiver.url}
    printed = await run(world, tmp_path, "--test", copied, **settings)
    assert re.search(r"^# pass 4$", printed, re.MULTILINE), printed
    images = [item for item in await world.bill() if "flux" in str(item)]
    assert len(images) == 1, "two lost answers, one picture"


@needs_node
@pytest.mark.timeout(300)
async def test_typescript_examples_run_one_after_the_other(world: World, tmp_path: Path) -> None:
    color = ("-f", "lavfi", "-i", "color=red:s=320x180", "-frames:v", "1")
    sources.ffmpeg(tmp_path / "first-frame.png", *color)
    (tmp_path / "guide.mjs").write_text("\n".join(examples("docs/how-to/typescript-client.md")))
    printed = await run(world, tmp_path, "guide.mjs")
    assert "max_cost_exceeded" in printed
    assert re.search(r"^end \d+$", printed, re.MULTILINE), printed
    assert (tmp_path / "boat.mp4").stat().st_size > 0


@needs_node
@pytest.mark.timeout(300)
async def test_typescript_readme_example_makes_a_video(world: World, tmp_path: Path) -> None:
    (code,) = examples("clients/typescript/README.md")
    (tmp_path / "readme.mjs").write_text(code)
    printed = await run(world, tmp_path, "readme.mjs")
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
