"""Start, stop and kill of the sandbox process, and its state afterwards."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sandbox.settings import options_from
from tests.sandbox.process import FLUX, QUICK, ROOT, Receiver, Sandbox, environment


@pytest.fixture
def own_sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """Return a sandbox that the test may kill."""
    sandbox = Sandbox(tmp_path / "data")
    sandbox.set(**QUICK)
    yield sandbox
    if sandbox.process.poll() is None:
        sandbox.stop()


def started(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sandbox", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_kill_keeps_jobs_and_bill_and_unfinished_jobs_finish(
    own_sandbox: Sandbox, receiver: Receiver
) -> None:
    done = own_sandbox.submit(prompt="done", callback=f"{receiver.url}/done")
    result = own_sandbox.fal_result(done).json()
    own_sandbox.set(image_seconds=2.5, queue_seconds=0.5)
    queued = own_sandbox.submit(prompt="queued", callback=f"{receiver.url}/queued")
    running = own_sandbox.predict(input={"prompt": "running"}, webhook=f"{receiver.url}/running")
    own_sandbox.wait_until(
        lambda: own_sandbox.prediction(running.json()["id"])["status"] == "processing"
    )
    own_sandbox.stop(signal.SIGKILL)

    own_sandbox.start()
    lines = own_sandbox.bill()["lines"]
    assert [(line["token"], line["state"]) for line in lines] == [
        ("done", "succeeded"), ("queued", "open"), ("running", "open"),
    ]  # fmt: skip
    assert own_sandbox.fal_get(done.json()["response_url"]).json() == result
    assert own_sandbox.client.get(result["images"][0]["url"]).status_code == 200
    assert own_sandbox.fal_result(queued).status_code == 200
    assert own_sandbox.predicted(running)["status"] == "succeeded"
    assert own_sandbox.bill()["total_nano_usd"] == 9_000_000
    own_sandbox.wait_until(
        lambda: {"/queued", "/running"} <= {item.path for item in receiver.received}
    )


def test_control_routes_are_on_their_own_port_only(own_sandbox: Sandbox) -> None:
    with httpx.Client(trust_env=False) as http:
        for method in ("GET", "POST", "DELETE"):
            for path in ("/__control/faults", "/__control/reset", "/__control/bill", "/__control"):
                assert http.request(method, f"{own_sandbox.url}{path}").status_code == 404
        assert http.get(f"{own_sandbox.control_url}/health").status_code == 200
        providers = own_sandbox.control_url.removesuffix("/__control")
        assert http.get(f"{providers}/fal/.well-known/jwks.json").status_code == 404
        assert http.get(f"{own_sandbox.url}/fal/.well-known/jwks.json").status_code == 200


def test_initial_settings_apply_again_after_a_kill_or_reset(
    tmp_path: Path,
) -> None:
    given = json.dumps({"history_hides_running": False, "image_seconds": 0.5})
    sandbox = Sandbox(tmp_path / "data", "--settings", given)
    try:
        sandbox.set(image_seconds=3.0)
        sandbox.stop(signal.SIGKILL)
        sandbox.start()
        settings = sandbox.client.get("/__control/settings").json()
        assert (settings["history_hides_running"], settings["image_seconds"]) == (False, 0.5)
        sandbox.set(history_hides_running=True)
        sandbox.client.post("/__control/reset").raise_for_status()
        assert sandbox.client.get("/__control/settings").json()["history_hides_running"] is False
    finally:
        sandbox.stop()


def test_kill_during_the_accept_loses_no_bill_line(own_sandbox: Sandbox) -> None:
    for number in range(20):
        own_sandbox.submit(prompt=str(number))
    own_sandbox.stop(signal.SIGKILL)
    bill = own_sandbox.data_dir / "bill.jsonl"
    kept = [json.loads(line) for line in bill.read_bytes().splitlines()]
    assert sum(line["event"] == "accepted" for line in kept) == 20
    with bill.open("ab") as file:
        file.write(b'{"event": "accepted", "provider_jo')  # a line cut off by the kill
    own_sandbox.start()
    own_sandbox.wait_until(lambda: all(line["billed"] for line in own_sandbox.bill()["lines"]))
    assert len(own_sandbox.bill()["lines"]) == 20
    assert all(json.loads(line) for line in bill.read_bytes().splitlines())


def test_bill_is_append_only_and_reset_starts_a_new_file(own_sandbox: Sandbox) -> None:
    bill = own_sandbox.data_dir / "bill.jsonl"
    own_sandbox.fal_result(own_sandbox.submit(prompt="a", seed=3))
    before = bill.read_bytes()
    accepted, outcome = map(json.loads, before.splitlines())
    assert (accepted["event"], accepted["model"], accepted["input"]) == (
        "accepted",
        FLUX,
        {"prompt": "a", "seed": 3},
    )
    assert (outcome["event"], outcome["state"], outcome["billed_nano_usd"]) == (
        "outcome",
        "succeeded",
        3_000_000,
    )
    own_sandbox.fal_result(own_sandbox.submit(prompt="b"))
    assert bill.read_bytes().startswith(before)
    own_sandbox.reset()
    assert own_sandbox.bill() == {"lines": [], "total_nano_usd": 0}
    assert own_sandbox.jobs() == []
    (old,) = own_sandbox.data_dir.glob("bill-*.jsonl")
    assert old.read_bytes().startswith(before)


def test_sigterm_stops_cleanly_while_a_call_hangs(own_sandbox: Sandbox) -> None:
    own_sandbox.set(image_seconds=60)
    own_sandbox.submit(prompt="unfinished")
    own_sandbox.fault("hang")

    def hanging() -> None:
        with pytest.raises(httpx.TransportError):
            httpx.post(
                f"{own_sandbox.url}/fal/queue/{FLUX}",
                json={"prompt": "hangs"},
                timeout=20,
                trust_env=False,
            )

    caller = threading.Thread(target=hanging)
    caller.start()
    own_sandbox.wait_until(lambda: own_sandbox.fired("fault-1") == 1)
    assert own_sandbox.stop(signal.SIGTERM) == 0
    caller.join(10)
    assert not caller.is_alive()


def test_busy_port_is_reported_in_one_line(own_sandbox: Sandbox, tmp_path: Path) -> None:
    port = str(own_sandbox.port)
    other = started("--port", port, "--data-dir", str(tmp_path / "other"))
    assert other.returncode == 1
    assert other.stderr == (
        f"sandbox: can't listen on 127.0.0.1:{port}: the port is in use; choose another with --port or SANDBOX_PORT\n"
    )


def test_unusable_data_folder_is_reported_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = started("--port", "0", "--data-dir", str(tmp_path / "file"))
    assert run.returncode == 1
    assert run.stderr.startswith("sandbox: can't use the data folder ")
    assert run.stderr.count("\n") == 1


def test_help_names_every_variable() -> None:
    text = started("--help").stdout
    for name in (
        "HOST", "PORT", "DATA_DIR", "PUBLIC_URL", "IMAGE_SECONDS", "VIDEO_SECONDS", "SUBMIT_SECONDS", "FAL_KEY",
        "REPLICATE_TOKEN", "REPLICATE_WEBHOOK_SECRET", "TLS_CERT", "TLS_KEY",
    ):  # fmt: skip
        assert f"SANDBOX_{name}" in text
    assert "whsec_c2FuZGJveC1yZXBsaWNhdGUtd2ViaG9vay1zZWNyZXQ=" in text


def test_invalid_options_are_rejected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert started("--tls-cert", "cert.pem").returncode == 2
    for option, text in (
        ("--image-seconds", "-1"),
        ("--settings", "{"),
        ("--settings", '{"image_second": 1}'),
        ("--settings", '{"history_hides_running": 1}'),
    ):
        with pytest.raises(SystemExit, match="2"):
            options_from([option, text])
        assert f"error: {option}" in capsys.readouterr().err
    for variable, text in (
        ("SANDBOX_PORT", "many"),
        ("SANDBOX_REPLICATE_WEBHOOK_SECRET", "secret"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, text)
            with pytest.raises(SystemExit, match="2"):
                options_from([])


def test_keys_and_public_url_options_are_used(tmp_path: Path) -> None:
    public = "https://sandbox.test/x"
    arguments = (
        "--fal-key",
        "id:secret",
        "--replicate-token",
        "other",
        "--public-url",
        f"{public}/",
    )
    sandbox = Sandbox(tmp_path, *arguments)
    try:
        accepted = sandbox.submit(prompt="a").json()
        assert accepted["status_url"].startswith(f"{public}/fal/queue/fal-ai/flux/requests/")
        wrong = sandbox.client.post(
            f"/fal/queue/{FLUX}", json={"prompt": "a"}, headers={"Authorization": "Key x:y"}
        )
        assert (wrong.status_code, wrong.json()) == (401, {"detail": "Invalid Key Authentication"})
        assert sandbox.predict(input={"prompt": "a"}).status_code == 401
    finally:
        sandbox.stop()


def test_job_is_copied_with_an_end_of_its_own(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.set(video_seconds=3600)
    like = sandbox.predict(
        "bytedance/seedance-1-pro",
        input={"prompt": "a", "resolution": "480p"},
        webhook=f"{receiver.url}/like",
        webhook_events_filter=["completed"],
    ).json()
    copies = [
        {"callback_url": f"{receiver.url}/first", "seconds": 0.1},
        {"callback_url": f"{receiver.url}/second", "seconds": 3600},
    ]
    answer = sandbox.client.post("/__control/jobs", json={"like": like["id"], "copies": copies})
    first, second = answer.json()["ids"]
    sandbox.wait_until(lambda: sandbox.prediction(first)["status"] == "succeeded")
    sandbox.wait_until(lambda: [call.path for call in receiver.received] == ["/first"])
    assert sandbox.prediction(second)["status"] == "processing"
    assert len(sandbox.bill()["lines"]) == 3
    counts = sandbox.client.get("/__control/call-counts").json()["counts"]
    assert (counts["create"], counts["status"] >= 2) == (1, True)


def test_copy_of_an_unknown_job_is_refused(sandbox: Sandbox) -> None:
    answer = sandbox.client.post("/__control/jobs", json={"like": "unknown", "copies": []})
    assert answer.status_code == 422
