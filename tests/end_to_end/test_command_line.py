"""The command line `takeone` on the whole stack: exit codes, streams, money and progress."""

import asyncio
import json
import re
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.command_line import PROGRAM, ROOT, CommandLine, interrupt
from tests.end_to_end.world import World
from tests.media.operations.sources import frames_of

PAGE = ROOT / "docs/how-to/command-line.md"
SMALL = ("a red kite", "--duration", "2", "--resolution", "480p")


@pytest.fixture
def takeone(world: World, tmp_path: Path) -> CommandLine:
    return CommandLine(world, tmp_path)


async def test_generate_shows_the_price_waits_and_downloads(
    world: World, takeone: CommandLine
) -> None:
    done = await takeone.run("generate", *SMALL, "--max-cost", "0.5", "--download", "out", "--json")
    assert done.code == 0, done.err
    execution = done.document
    assert (execution["status"], execution["cost"]["settled"]) == ("completed", "0.063")
    (path,) = execution["downloaded"]
    assert len(frames_of(takeone.folder / path)) == 2 * 24
    assert "Price: $0.063 expected, $0.063 at most" in done.err
    assert f"{execution['id']} completed 100 %" in done.err
    assert len(await world.bill()) == 2


async def test_order_without_consent_buys_nothing(world: World, takeone: CommandLine) -> None:
    silent, dear = await asyncio.gather(
        takeone.run("generate", *SMALL, "--json"),
        takeone.run("generate", *SMALL, "--max-cost", "0.001", "--json"),
    )
    assert (silent.code, dear.code) == (4, 4)
    assert silent.document["error"]["exitCode"] == 4
    assert "--max-cost" in silent.err
    error = dear.document["error"]
    assert (error["code"], error["spent"]) == ("max_cost_exceeded", "0")
    assert await world.bill() == []
    assert (await world.api.get("/api/executions")).json()["data"] == []


async def test_terminal_asks_above_the_limit_and_shows_a_bar(
    world: World, takeone: CommandLine
) -> None:
    await takeone.run("config", "set", "confirm_above", "0.05")
    declined = await takeone.on_terminal("generate", *SMALL, keys="n\r", until="[y/N]")
    assert declined.code == 4
    assert "Order for at most $0.063?" in declined.out
    assert await world.bill() == []
    accepted = await takeone.on_terminal("generate", *SMALL, "--wait", keys="y\r", until="[y/N]")
    assert accepted.code == 0
    assert "━" in accepted.out
    assert "100%" in accepted.out
    assert "\x1b[" in accepted.out, "no colours or cursor movements on a terminal"
    assert len(await world.bill()) == 2


async def test_failures_have_their_exit_codes(world: World, takeone: CommandLine) -> None:
    await world.settings(video_seconds=60)
    running = await world.generate()
    cancelled = await world.generate(prompt="a blue kite")
    await world.cancel(cancelled)
    unreachable: dict[str, str | None] = {"TAKEONE_BASE_URL": "http://127.0.0.1:9"}
    commands: dict[tuple[str, ...], tuple[int, dict[str, str | None]]] = {
        ("watch", cancelled): (1, {}),
        ("generate", "x", "--duration", "99", "--yes"): (2, {}),
        ("generate",): (2, {}),
        ("get", running): (3, {"TAKEONE_API_KEY": "tko_wrong"}),
        ("list",): (3, {"TAKEONE_API_KEY": None}),
        ("usage",): (5, unreachable),
        ("watch", running, "--timeout", "0.2"): (6, {}),
        ("get", "exec_1"): (7, {}),
    }
    ended = await asyncio.gather(
        *(takeone.run(*command, "--json", env=env) for command, (_, env) in commands.items())
    )
    assert [each.code for each in ended] == [code for code, _ in commands.values()]
    for each, (code, _) in zip(ended[1:], list(commands.values())[1:], strict=True):
        last = json.loads(each.out.splitlines()[-1])
        assert last["error"]["exitCode"] == code
        assert "Traceback" not in each.err
    assert json.loads(ended[0].out)["status"] == "cancelled"
    assert "it continues" in ended[6].err
    assert (await world.get(running))["status"] == "running"


async def test_interrupted_watch_leaves_the_execution_running(
    world: World, takeone: CommandLine
) -> None:
    await world.settings(video_seconds=3)
    execution_id = await world.generate()
    process = await takeone.start("watch", execution_id)
    ended = await interrupt(process, after=" %")
    assert ended.code == 130
    assert f"Stopped watching; {execution_id} continues" in ended.err
    assert ended.out == ""
    assert (await world.ended(execution_id))["status"] == "completed"


async def test_watch_prints_a_json_line_for_each_change(world: World, takeone: CommandLine) -> None:
    ids = [await world.generate(prompt=f"{colour} kite") for colour in ("red", "blue")]
    ended = await takeone.run("watch", *ids, "--json")
    assert ended.code == 0, ended.err
    lines: list[dict[str, Any]] = [json.loads(line) for line in ended.out.splitlines()]
    for execution_id in ids:
        progress = [line["progress"] for line in lines if line["id"] == execution_id]
        assert progress == sorted(progress)
        assert progress[-1] == 100
    assert ended.err == ""


async def test_login_stores_a_checked_key_and_never_prints_it(
    world: World, takeone: CommandLine
) -> None:
    url, key = takeone.access["TAKEONE_BASE_URL"], takeone.access["TAKEONE_API_KEY"]
    nothing: dict[str, str | None] = {"TAKEONE_BASE_URL": None, "TAKEONE_API_KEY": None}
    file = takeone.config / "takeone/config.toml"
    refused = await takeone.run("login", "--base-url", url, env=nothing, stdin="tko_wrong\n")
    assert refused.code == 3
    assert not file.exists()
    stored = await takeone.run(
        "login", "--base-url", url, "--profile", "local", env=nothing, stdin=f"{key}\n"
    )
    assert stored.code == 0, stored.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key in file.read_text(encoding="utf-8")
    used, shown, listed, other, elsewhere = await asyncio.gather(
        takeone.run("list", "--json", env=nothing),
        takeone.run("config", "show", "--json", env=nothing),
        takeone.run("config", "list", env=nothing),
        takeone.run("list", env={"TAKEONE_API_KEY": "tko_wrong"}),
        takeone.run("list", env={"TAKEONE_API_KEY": None, "TAKEONE_BASE_URL": "http://h.test"}),
    )
    assert (used.code, used.document) == (0, {"data": []})
    assert shown.document["apiKey"] == "set"
    assert listed.out == f"local\tyes\t{url}\t$1\n"
    assert (other.code, elsewhere.code) == (3, 3), "the environment wins; a key has one address"
    printed = [stored, shown, listed, elsewhere]
    assert key not in "".join(each.out + each.err for each in printed)


async def test_examples_of_the_page_run_one_after_the_other(
    world: World, takeone: CommandLine
) -> None:
    examples = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(examples) == 6
    (takeone.folder / "key.txt").write_text(takeone.access["TAKEONE_API_KEY"])
    program = f'takeone() {{ {shlex.join(PROGRAM)} "$@"; }}\n'
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        program + "".join(examples),
        cwd=takeone.folder,
        env=takeone.environment({"STAGING_URL": takeone.access["TAKEONE_BASE_URL"]}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await shell.communicate()
    assert shell.returncode == 0, err.decode()
    (boat,) = (takeone.folder / "boats").iterdir()
    assert f"boats/{boat.name}" in out.decode()
    assert len(frames_of(takeone.folder / "boat.mp4")) == 2 * 24
    assert len(json.loads((takeone.folder / "done.json").read_text())["data"]) == 2
    missing = json.loads((takeone.folder / "missing.json").read_text())
    assert missing["error"]["code"] == "not_found"
    executions = (await world.api.get("/api/executions")).json()["data"]
    assert len(executions) == 3
