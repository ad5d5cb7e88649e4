"""The unmodified fal-client against the sandbox, over TLS."""

import json
import subprocess
import sys
from pathlib import Path

from tests.sandbox.process import ROOT, Sandbox, environment


def test_fal_client_submits_follows_fetches_cancels(tls_sandbox: Sandbox, test_ca: Path) -> None:
    tls_sandbox.reset(queue_seconds=0.3, image_seconds=0.8)
    host = tls_sandbox.url.removeprefix("https://")
    env = environment(
        FAL_KEY="id:secret", FAL_QUEUE_RUN_HOST=f"{host}/fal/queue", FAL_RUN_HOST=f"{host}/fal/run",
        SSL_CERT_FILE=str(test_ca / "ca.pem"),
    )  # fmt: skip
    script = str(Path(__file__).with_name("use_fal_client.py"))
    run = subprocess.run(
        [sys.executable, script],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)

    assert seen["events"] == ["Queued", "InProgress", "Completed"]
    assert seen["image"]["seed"] == 7
    assert seen["image"]["has_nsfw_concepts"] == [False]
    assert seen["status_by_id"] == "Completed"
    assert seen["result_by_id"] is True
    assert len(seen["run"]["images"]) == 1
    assert seen["video"]["video"]["content_type"] == "video/mp4"
    assert {"Completed", "InProgress"} <= set(seen["updates"])
    assert seen["refused"]["status"] == 422
    assert seen["refused"]["body"]["detail"][0]["loc"] == ["body", "image_url"]
    assert seen["cancelled"] == 499

    assert [len(part["characters"]) for part in seen["speech"]["timestamps"]] == [0, 5, 5]
    assert seen["transcript"]["text"] == "Who is it?"
    assert seen["edit"]["images"][0]["content_type"] == "image/png"
    types = {
        name: next(iter(seen[name].values()))["content_type"]
        for name in ("speech", "text_to_video", "picture_cutout", "video_cutout", "lip_sync", "talking_head", "upscale")
    }  # fmt: skip
    assert types == {
        "speech": "audio/mpeg",
        "text_to_video": "video/mp4",
        "picture_cutout": "image/png",
        "video_cutout": "video/webm",
        "lip_sync": "video/mp4",
        "talking_head": "video/mp4",
        "upscale": "image/jpeg",
    }

    states = [line["state"] for line in tls_sandbox.bill()["lines"]]
    assert states[:5] == ["succeeded", "succeeded", "succeeded", "failed", "canceled"]
    assert states[5:] == ["succeeded"] * 9
