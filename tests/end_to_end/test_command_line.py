"""The command line `takeone` on the whole stack: exit codes, streams, money and progress."""

import asyncio
import hashlib
import json
import re
import shlex
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.api.synthome_plans import clip, plan
from tests.end_to_end.command_line import PROGRAM, ROOT, CommandLine, interrupt
from tests.end_to_end.faulty_proxy import Fault, FaultyProxy
from tests.end_to_end.world import World
from tests.media.operations import sources
from tests.media.operations.sources import frames_of

PAGE = ROOT / "docs/how-to/command-line.md"
SMALL = ("a red kite", "--duration", "2", "--resolution", "480p")
PLAN: dict[str, Any] = {
    "version": 1,
    "variables": {"frame": {"type": "image"}, "seconds": {"type": "integer"}},
    "steps": [
        {
            "name": "clip",
            "kind": "video",
            "params": {
                "prompt": "the kite rises",
                "image": {"var": "frame"},
                "duration": {"var": "seconds"},
                "resolution": "480p",
            },
        },
        {"name": "choose", "kind": "approval", "params": {"options": [{"step": "clip"}]}},
    ],
}


@pytest.fixture
async def takeone(world: World, tmp_path: Path) -> CommandLine:
    await world.settings(image_seconds=0.1, video_seconds=0.4)
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
    await world.settings(video_seconds=600)  # longer than the command takes to start
    execution_id = await world.generate()
    process = await takeone.start("watch", execution_id)
    ended = await interrupt(process, after=" %")
    assert ended.code == 130
    assert f"Stopped watching; {execution_id} continues" in ended.err
    assert ended.out == ""
    assert (await world.get(execution_id))["status"] == "running"
    await world.cancel(execution_id)
    assert (await world.ended(execution_id))["status"] == "cancelled"


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


@pytest.mark.timeout(400)
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


async def test_retry_shows_what_is_kept_and_what_is_paid(
    world: World, takeone: CommandLine
) -> None:
    await world.fault("fail_after", provider="replicate", params={"seconds": 0.2})
    failed = await takeone.run("generate", *SMALL, "--yes", "--wait", "--json")
    execution = failed.document
    assert (failed.code, execution["status"]) == (1, "failed")
    silent = await takeone.call("retry", execution["id"])
    assert silent.code == 4
    assert "Kept: image, $0.003 paid" in silent.err
    assert "To pay: video (bytedance/seedance-1-pro), $0.06 at most" in silent.err
    dear = await takeone.call("retry", execution["id"], "--max-cost", "0.05", "--json")
    assert (dear.code, dear.document["error"]["code"]) == (4, "max_cost_exceeded")
    retried = await takeone.call("retry", execution["id"], "--max-cost", "0.06", "--json")
    assert [step["step"] for step in retried.document["kept"]] == ["image"]
    assert retried.document["estimated"] == "0.06"
    done = await world.ended(execution["id"])
    assert (done["status"], len(await world.bill())) == ("completed", 3)
    again = await takeone.call("retry", execution["id"], "--yes")
    assert (again.code, len(await world.bill())) == (2, 3)


async def test_lost_answer_of_a_retry_is_repeated_and_bought_once(
    world: World, takeone: CommandLine
) -> None:
    """The command names the options that send the same retry again, although it has begun."""
    lost = Fault(r"POST \S+/retry$", "lose", times=9)
    await world.fault("fail_after", provider="replicate", params={"seconds": 0.2})
    failed = await takeone.run("generate", *SMALL, "--yes", "--wait", "--json")
    execution_id = failed.document["id"]
    same = ("retry", execution_id, "--idempotency-key", "one-retry", "--max-cost", "0.1")
    async with FaultyProxy(lost).serving() as proxy:
        ended = await takeone.run(*same, env={"HTTP_PROXY": proxy})
    assert (ended.code, lost.fired) == (5, 3)
    assert "with --idempotency-key one-retry --max-cost 0.1: it is then accepted once" in ended.err
    repeated = await takeone.call(*same)
    assert (repeated.code, repeated.out) == (0, f"{execution_id}\n"), repeated.err
    done = await world.ended(execution_id)
    assert (done["status"], done["generation"], len(await world.bill())) == ("completed", 2, 3)


async def test_retry_that_costs_nothing_needs_no_consent(
    world: World, takeone: CommandLine
) -> None:
    picture = {"name": "draft", "kind": "image", "params": {"prompt": "a kite"}}
    choice = {"name": "choose", "kind": "approval", "params": {"options": [{"step": "draft"}]}}
    steps = {"version": 1, "steps": [picture, choice]}
    (takeone.folder / "plan.json").write_text(json.dumps(steps))
    accepted = await takeone.call("run", "plan.json", "--yes")
    execution_id = accepted.out.strip()
    await world.until_true(
        lambda: waits(world, execution_id), "it does not wait for a decision", seconds=60
    )
    assert (await takeone.call("approve", execution_id, "choose", "--reject")).code == 0
    assert (await world.ended(execution_id))["status"] == "cancelled"
    retried = await takeone.call("retry", execution_id)
    assert (retried.code, retried.out) == (0, f"{execution_id}\n"), retried.err
    assert "Generation 2 is queued: 1 step kept, $0 at most to pay" in retried.err
    assert len(await world.bill()) == 1
    await world.cancel(execution_id)


async def test_plan_runs_with_values_files_and_a_decision(
    world: World, takeone: CommandLine
) -> None:
    picture = takeone.folder / "red.png"
    sources.ffmpeg(picture, "-f", "lavfi", "-i", "color=red:s=320x180", "-frames:v", "1")
    (takeone.folder / "plan.json").write_text(json.dumps(PLAN))
    values = ("--value", f"frame={picture}", "--value", "seconds=2")
    wrong = {
        "noun=kite": "Its variables: frame, seconds",
        "seconds=two": "must be a value of the type integer",
        "frame=missing.png": "is not a file",
    }
    for value, text in wrong.items():
        refused = await takeone.call("run", "plan.json", "--value", value, "--yes")
        assert (refused.code, text in refused.err) == (2, True), refused.err
    accepted = await takeone.call("run", "plan.json", *values, "--max-cost", "0.5")
    assert accepted.code == 0, accepted.err
    execution_id = accepted.out.strip()
    await world.until_true(
        lambda: waits(world, execution_id), "it does not wait for a decision", seconds=60
    )
    decisions = await takeone.call("approve", execution_id)
    assert decisions.out.startswith("choose\tclip\t$0\thttp")
    early = await takeone.call("download", execution_id)
    assert (early.code, "waits" in early.err or "running" in early.err) == (6, True)
    approved = await takeone.call("approve", execution_id, "choose", "clip")
    assert approved.out == f"{execution_id} choose: approved, clip\n"
    assert (await world.ended(execution_id))["status"] == "completed"
    saved = await takeone.call("download", execution_id, "--all", "--dir", "all", "--json")
    assert len(saved.document["downloaded"]) == len(list((takeone.folder / "all").iterdir())) > 0
    browser = takeone.folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n')
    browser.chmod(0o700)
    opened = await takeone.run("open", execution_id, env={"BROWSER": f"{browser} %s"})
    assert (opened.code, opened.out) == (0, (takeone.folder / "opened").read_text())


async def waits(world: World, execution_id: str) -> bool:
    return bool((await world.get(execution_id))["waitingFor"])


async def test_files_templates_and_imports_have_commands(takeone: CommandLine) -> None:
    sound = takeone.folder / "sound.wav"
    sources.ffmpeg(sound, "-f", "lavfi", "-i", "sine=d=1")
    uploaded = (await takeone.call("assets", "upload", str(sound), "--json")).document["data"][0]
    listed = await takeone.call("assets", "list", "--source", "upload")
    assert listed.out.startswith(f"{uploaded['id']}\taudio\t")
    asset = (await takeone.call("assets", "get", uploaded["id"], "--json")).document
    assert asset["address"].startswith("http")
    assert (await takeone.call("assets", "download", uploaded["id"], "copy.wav")).code == 0
    copied = (takeone.folder / "copy.wav").read_bytes()
    assert hashlib.sha256(copied).hexdigest() == uploaded["sha256"]
    assert (await takeone.call("assets", "delete", uploaded["id"])).code == 0
    assert (await takeone.call("assets", "get", uploaded["id"])).code == 7

    (takeone.folder / "old.json").write_text(json.dumps(plan(clip("clip", "a red kite"))))
    imported = await takeone.call("import", "old.json")
    assert imported.code == 0, imported.err
    (takeone.folder / "plan.json").write_text(imported.out)
    price = await takeone.call("run", "plan.json", "--quote", "--json")
    assert price.document["worst"] != "0"
    created = await takeone.call("templates", "create", "kites", "plan.json")
    template = created.out.strip()
    assert template in (await takeone.call("templates", "list")).out
    assert "kites" in (await takeone.call("templates", "get", template)).out
    assert (await takeone.call("templates", "delete", template)).code == 0


async def test_account_and_webhooks_have_commands(world: World, takeone: CommandLine) -> None:
    models = (await takeone.call("models", "--kind", "video", "--json")).document["data"]
    assert {each["kind"] for each in models} == {"video"}
    assert (await takeone.call("usage", "--json")).document["usd"]["settled"] == "0"
    assert "settled" in (await takeone.call("usage")).out
    created = (await takeone.call("keys", "create", "second", "--scope", "read", "--json")).document
    assert created["scopes"] == ["read"]
    limited = await takeone.call("keys", "limit", created["id"], "--monthly-limit", "2.50")
    assert limited.out.splitlines()[2] == "left this month  $2.5"
    assert (await takeone.call("keys", "revoke", created["id"])).code == 0
    assert created["id"] in (await takeone.call("keys", "list")).out

    added = await takeone.call("endpoints", "add", world.receiver.url, "--json")
    endpoint = added.document["id"]
    tested = (await takeone.call("endpoints", "test", endpoint)).out.strip()
    await world.until_true(
        lambda: received(takeone, tested), "the webhook was not delivered", every=0.3
    )
    assert "200" in (await takeone.call("webhooks", "get", tested)).out
    assert (await takeone.call("webhooks", "resend", tested)).code == 0
    for command, state in (("disable", "disabled"), ("enable", "enabled")):
        changed = await takeone.call("endpoints", command, endpoint)
        assert changed.out == f"{endpoint} {state}\n"
    secret = (await takeone.call("endpoints", "rotate", endpoint, "--overlap-hours", "1")).out
    assert secret.startswith("whsec_")
    assert f"{endpoint}\t{world.receiver.url}" in (await takeone.call("endpoints", "list")).out
    assert (await takeone.call("endpoints", "delete", endpoint)).code == 0


async def received(takeone: CommandLine, event_id: str) -> bool:
    listed = await takeone.call("webhooks", "list", "--state", "delivered")
    return event_id in listed.out


async def test_any_operation_can_be_called(takeone: CommandLine) -> None:
    (takeone.folder / "body.json").write_text('{"prompt": "a kite", "duration": 2}')
    price = await takeone.call("api", "post", "/api/quotes", "-d", "@body.json")
    assert price.document["currency"] == "USD"
    page = await takeone.call("api", "GET", "/api/assets?limit=1&source=upload")
    assert page.document == {"data": [], "nextCursor": None}
    refused = await takeone.call("api", "GET", "api/usage")
    assert (refused.code, "must start with /" in refused.err) == (2, True)
