"""The local stack: one-line errors before the start, leftover processes, and restarts."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from core.platform.egress.rules import OutboundRules, host_and_port
from deploy.local.config import Config, Ports, read_config, variable_of
from deploy.local.keys import keep_keys
from deploy.local.leftovers import Started, exclusive, note_started, stop_leftovers
from deploy.local.product import product_environment, without_foreign
from deploy.local.servers.process import LocalError, Part
from deploy.local.servers.prometheus import find_prometheus, prometheus
from deploy.local.stack import PART_NAMES, Stack, check_disk, check_ports, prepared
from tests.support.stack_ports import free_stack_ports

REAL_KEYS = {"FAL_KEY": "real:key", "REPLICATE_API_TOKEN": "r8_real"}


def free_config(folder: Path) -> Config:
    return Config(folder=folder, ports=free_stack_ports(), live=None)


def test_config_live_has_a_folder_of_its_own(tmp_path: Path) -> None:
    environment = {**REAL_KEYS, "TAKEONE_DATA_DIR": str(tmp_path)}
    sandbox, live = read_config(environment, live=False), read_config(environment, live=True)
    assert (sandbox.folder, live.folder) == (tmp_path, tmp_path / "live")
    assert sandbox.live is None
    assert live.live is not None
    assert live.live.fal_key == "real:key"


@pytest.mark.parametrize(
    ("environment", "live", "said"),
    [
        ({"API_PORT": "80O0"}, False, "API_PORT must be a port number, not '80O0'"),
        ({"API_PORT": "7233"}, False, "API_PORT|TEMPORAL_PORT"),
        (
            {"TEMPORAL_ENCRYPT_PAYLOADS": "maybe"},
            False,
            "TEMPORAL_ENCRYPT_PAYLOADS must be true or false",
        ),
        ({"SANDBOX_PORT": "8335"}, False, "S3_PORT and SANDBOX_PORT both use port 8335"),
        ({}, True, "not set: FAL_KEY, REPLICATE_API_TOKEN"),
        ({"FAL_KEY": "x"}, True, "not set: REPLICATE_API_TOKEN"),
    ],
)
def test_config_wrong_environment_is_one_line(
    environment: dict[str, str], live: bool, said: str
) -> None:
    with pytest.raises(LocalError, match=said) as raised:
        read_config(environment, live=live)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("said", ["", "false", "true"])
def test_config_can_encrypt_temporal_payloads(said: str, tmp_path: Path) -> None:
    config = read_config(
        {"TAKEONE_DATA_DIR": str(tmp_path), "TEMPORAL_ENCRYPT_PAYLOADS": said}, live=False
    )
    made = product_environment(
        config, keep_keys(tmp_path), {"TEMPORAL_ENCRYPT_PAYLOADS": "from outside"}
    )
    assert (config.encrypt_payloads, made["TEMPORAL_ENCRYPT_PAYLOADS"]) == (
        said == "true",
        str(said == "true"),
    )


def test_product_environment_has_no_real_keys_or_foreign_addresses(tmp_path: Path) -> None:
    outer = {
        **REAL_KEYS,
        "FAL_QUEUE_URL": "https://queue.fal.run",
        "AWS_PROFILE": "mine",
        "AWS_SESSION_TOKEN": "mine",
        "TEMPORAL_API_KEY": "cloud",
        "PGOPTIONS": "-c x=y",
        "ELEVENLABS_API_KEY": "real",
        "HOME": "/home/me",
        "HTTP_PROXY": "http://proxy",
    }
    config, keys = read_config({"TAKEONE_DATA_DIR": str(tmp_path)}, live=False), keep_keys(tmp_path)
    made = product_environment(config, keys, outer)
    assert not {
        "AWS_PROFILE",
        "AWS_SESSION_TOKEN",
        "TEMPORAL_API_KEY",
        "PGOPTIONS",
    } & set(made)
    assert not {*REAL_KEYS.values(), "real"} & set(made.values())
    assert {made[name] for name in ("HOME", "HTTP_PROXY", "NO_PROXY")} == {
        "/home/me",
        "http://proxy",
        "127.0.0.1,localhost",
    }
    addresses = {"FAL_QUEUE_URL", "FAL_API_URL", "FAL_JWKS_URL", "REPLICATE_BASE_URL"}
    for name in {*addresses, "ELEVENLABS_BASE_URL"}:
        assert made[name].startswith("http://127.0.0.1:8090/")
    live = read_config({**outer, "TAKEONE_DATA_DIR": str(tmp_path)}, live=True)
    real = product_environment(live, keys, outer)
    assert (real["FAL_KEY"], real["REPLICATE_API_TOKEN"]) == ("real:key", "r8_real")
    assert not addresses & set(real)


def test_webhooks_reach_only_listed_ports_of_this_machine(tmp_path: Path) -> None:
    config, keys = read_config({"TAKEONE_DATA_DIR": str(tmp_path)}, live=False), keep_keys(tmp_path)
    listed = product_environment(config, keys, {})["ALLOWED_PRIVATE_HOSTS"].split(",")
    rules = OutboundRules(allowed_private_hosts=frozenset(map(host_and_port, listed)))
    ports = config.ports
    allowed = {ports.sandbox, ports.demo_webhook, 9000}
    for port in {*allowed, *(port for _, port in ports.by_variable())}:
        refused = rules.url_refusal(f"http://127.0.0.1:{port}/") is not None
        assert refused is (port not in allowed), port


def test_config_lists_receivers_of_the_caller(tmp_path: Path) -> None:
    outer = {"TAKEONE_DATA_DIR": str(tmp_path), "ALLOWED_PRIVATE_HOSTS": "localhost:3000"}
    assert read_config(outer, live=False).receivers == ("localhost:3000",)
    with pytest.raises(LocalError, match="ALLOWED_PRIVATE_HOSTS must list host:port"):
        read_config(outer | {"ALLOWED_PRIVATE_HOSTS": "localhost"}, live=False)


def test_prometheus_is_optional(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert find_prometheus() is None
    program = programs / "prometheus"
    program.touch(mode=0o755)
    assert find_prometheus() == program
    config = read_config({"TAKEONE_DATA_DIR": str(tmp_path)}, live=False, observe=True)
    part = prometheus(program, config)
    part.prepare()
    written = json.loads((tmp_path / "prometheus/prometheus.json").read_text())
    assert {
        (each["job_name"], *each["static_configs"][0]["targets"])
        for each in written["scrape_configs"]
    } == {
        ("takeone-api", "127.0.0.1:9101"),
        ("takeone-worker", "127.0.0.1:9102"),
        ("takeone-sdk", "127.0.0.1:9103"),
        ("temporal", "127.0.0.1:9104"),
    }


async def test_data_folder_is_private(tmp_path: Path) -> None:
    config = free_config(tmp_path / "var")
    async with prepared(config, lambda _line: None):
        others = 0o011 if os.geteuid() == 0 else 0  # PostgreSQL's own user passes through
        assert config.folder.stat().st_mode & 0o777 == 0o700 | others
        assert config.logs.stat().st_mode & 0o777 == 0o700


def test_filtered_environment_keeps_other_variables() -> None:
    assert without_foreign({"PATH": "/bin", "S3_BUCKET": "x"})["PATH"] == "/bin"
    assert "S3_BUCKET" not in without_foreign({"S3_BUCKET": "x"})


def test_keys_are_kept_and_private(tmp_path: Path) -> None:
    first = keep_keys(tmp_path)
    assert keep_keys(tmp_path) == first
    assert (tmp_path / "local.json").stat().st_mode & 0o777 == 0o600
    assert first.postgres_password not in repr(first)
    assert len(set(json.loads((tmp_path / "local.json").read_text()).values())) == len(
        fields(first)
    )


def test_keys_lost_while_data_is_there_is_one_line(tmp_path: Path) -> None:
    keep_keys(tmp_path)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "local.json").unlink()
    with pytest.raises(LocalError, match=r"local\.json is missing"):
        keep_keys(tmp_path)


def test_port_in_use_names_port_part_and_variable(tmp_path: Path) -> None:
    config = free_config(tmp_path)
    check_ports(config)
    with socket.socket() as other:
        other.bind(("127.0.0.1", config.ports.temporal_ui))
        other.listen()
        with pytest.raises(
            LocalError,
            match=rf"Port {config.ports.temporal_ui} \(the Temporal Web UI\).*TEMPORAL_UI_PORT=PORT",
        ):
            check_ports(config)


def test_disk_nearly_full_is_one_line(tmp_path: Path) -> None:
    check_disk(tmp_path, needed_bytes=1)
    with pytest.raises(LocalError, match=r"MB are free on the disk of .*TAKEONE_DATA_DIR"):
        check_disk(tmp_path, needed_bytes=2**62)


def test_second_start_on_a_folder_is_refused(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(LocalError, match="already runs"), exclusive(tmp_path):
        pytest.fail("two hold one lock")
    with exclusive(tmp_path):
        assert (tmp_path / "lock").exists()


def test_leftover_processes_are_stopped_and_others_are_not(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command) as ours, subprocess.Popen(command) as stranger:
        try:
            left, other = Started.of("Worker", ours.pid, 5.0), Started.of("API", stranger.pid, 5.0)
            assert left is not None
            assert other is not None
            # This process has the pid and the command of a leftover, but another start time.
            reused = replace(other, created=other.created - 100)
            note_started(tmp_path, [left, reused])
            assert stop_leftovers(tmp_path) == [left]
            assert left.process() is None
            assert stranger.poll() is None
            assert stop_leftovers(tmp_path) == []
        finally:
            ours.kill()
            stranger.kill()


def sleeper(name: str, folder: Path) -> Part:
    async def ready() -> None:
        await asyncio.sleep(0)

    return Part(
        name=name,
        command=(sys.executable, "-c", "import time; time.sleep(60)"),
        log=folder / f"{name}.log",
        ready=ready,
        address="",
    )


async def test_stack_restarts_a_killed_part_and_stops_all(tmp_path: Path) -> None:
    said: list[str] = []
    config = free_config(tmp_path)
    stack = Stack(config, keep_keys(tmp_path), os.environ, said.append)
    await stack.run_parts([sleeper("One", tmp_path)], [sleeper("Two", tmp_path)])
    noted = json.loads((tmp_path / "processes.json").read_text())
    assert [one["name"] for one in noted] == ["One", "Two"]
    os.kill(noted[0]["pid"], 9)
    for _ in range(400):
        if any("One is ready again" in line for line in said):
            break
        await asyncio.sleep(0.05)
    assert any("One was killed by signal 9: restarting it in 0.5 s" in line for line in said)
    again = json.loads((tmp_path / "processes.json").read_text())
    assert again[0]["pid"] != noted[0]["pid"]
    await stack.stop()
    assert said[-2:] == ["  Two stopped", "  One stopped"]
    assert all(Started(**one).process() is None for one in again)


async def test_prepared_stops_processes_left_by_a_killed_start(tmp_path: Path) -> None:
    config, said = free_config(tmp_path), list[str]()
    async with prepared(config, said.append):
        assert (tmp_path / "temporal.toml").read_text() == ""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as left:  # noqa: ASYNC220 - returns at once
        started = Started.of("Worker", left.pid, 5.0)
        assert started is not None
        note_started(tmp_path, [started])
        async with prepared(config, said.append):
            assert started.process() is None
    assert said == [f"Stopped Worker (process {left.pid}), left running by a killed start"]


def test_command_line_prints_one_line_and_exits(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "TAKEONE_DATA_DIR": str(tmp_path),
        "API_PORT": "no",
    }
    done = subprocess.run(
        [sys.executable, "-m", "deploy.local", "up"],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "API_PORT must be a port number, not 'no'\n"


def test_every_port_has_a_variable_and_a_name() -> None:
    assert {variable for variable, _ in Ports().by_variable()} == {
        variable_of(field.name) for field in fields(Ports)
    }
    assert set(PART_NAMES) == {variable for variable, _ in Ports().by_variable()}
