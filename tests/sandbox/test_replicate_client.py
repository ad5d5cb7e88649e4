"""The unmodified replicate client against the sandbox."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import pytest
import replicate.exceptions
from replicate.client import Client
from replicate.pagination import paginate
from replicate.webhook import WebhookSigningSecret, WebhookValidationError

from sandbox.files.renderer import picture
from tests.sandbox.process import Receiver, Sandbox

FLUX = "black-forest-labs/flux-schnell"
SEEDANCE = "bytedance/seedance-1-pro"


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Client]:
    with httpx.HTTPTransport() as transport:  # the client itself cannot be closed
        yield Client(api_token="r8_token", base_url=f"{sandbox.url}/replicate", transport=transport)


def test_replicate_client_runs_an_image_and_waits(client: Client, sandbox: Sandbox) -> None:
    output: list[str] = client.run(
        FLUX, input={"prompt": "a red kite", "output_format": "png"}, use_file_output=False
    )  # pyright: ignore[reportAssignmentType] # Any, or an iterator for models with a schema
    assert len(output) == 1
    assert sandbox.client.get(output[0]).content.startswith(b"\x89PNG")


def test_replicate_client_runs_a_video_by_polling(client: Client, sandbox: Sandbox) -> None:
    output = client.run(
        SEEDANCE, input={"prompt": "a", "duration": 3}, use_file_output=False, wait=False
    )
    assert sandbox.client.get(str(output)).content[4:8] == b"ftyp"


def test_replicate_client_runs_each_kind(client: Client, sandbox: Sandbox) -> None:
    sandbox.set(image_seconds=0, video_seconds=0, queue_seconds=0)

    def run(model: str, **order: object) -> str:
        output = client.run(model, input=order, use_file_output=False)
        assert sandbox.client.get(str(output)).status_code == 200
        return str(output)

    voice = run("elevenlabs/v3", prompt="Who is it?")
    picture_url = run("google/nano-banana-2-lite", prompt="a kite")
    clip = run("google/veo-3.1-fast", prompt="fly", image=picture_url, last_frame=picture_url)
    outputs = [
        run("black-forest-labs/flux-kontext-pro", prompt="blue", input_image=picture_url),
        run("bria/remove-background", image=picture_url),
        run("recraft-ai/recraft-crisp-upscale", image=picture_url),
        run("kwaivgi/kling-lip-sync", video_url=clip, audio_file=voice),
        run("kwaivgi/kling-avatar-v2", image=picture_url, audio=voice),
    ]
    extensions = [url.rsplit(".", 1)[-1] for url in (voice, picture_url, clip, *outputs)]
    assert extensions == ["mp3", "jpg", "mp4", "png", "png", "png", "mp4", "mp4"]
    assert {line["state"] for line in sandbox.bill()["lines"]} == {"succeeded"}


def test_replicate_client_creates_gets_and_lists(client: Client) -> None:
    made = [
        client.models.predictions.create(FLUX, input={"prompt": f"number {n}"}) for n in range(3)
    ]
    assert made[0].status == "starting"
    made[0].wait()
    assert made[0].status == "succeeded"
    assert made[0].metrics is not None
    assert set(made[0].metrics) == {"predict_time", "total_time", "image_output_count"}
    by_version = client.predictions.create(version=FLUX, input={"prompt": "by version"})
    listed = client.predictions.list().results
    assert [item.id for item in listed] == [by_version.id, *(item.id for item in reversed(made))]
    assert listed[-1].input == {"prompt": "number 0"}


def test_replicate_client_uploads_a_picture_and_uses_it(
    client: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(picture(prompt="a", width=300, height=400, seed=1, image_format="png"))
    with path.open("rb") as file:
        output = client.run(
            SEEDANCE, input={"prompt": "a", "image": file, "duration": 2}, use_file_output=False
        )
    with av.open(io.BytesIO(sandbox.client.get(str(output)).content), "r") as video:
        assert (video.streams.video[0].width, video.streams.video[0].height) == (
            64,
            86,
        )  # the picture's 3:4
    (uploaded,) = client.files.list()
    assert (uploaded.name, uploaded.content_type, uploaded.size) == (
        "picture.png",
        "image/png",
        path.stat().st_size,
    )
    assert (
        client.files.get(uploaded.id).checksums["sha256"]
        == hashlib.sha256(path.read_bytes()).hexdigest()
    )
    assert client.files.delete(uploaded.id)
    assert client.files.list() == []


def test_replicate_client_pages_through_a_long_list(client: Client) -> None:
    for number in range(105):
        client.models.predictions.create(FLUX, input={"prompt": str(number)})
    assert [len(page.results) for page in paginate(client.predictions.list)] == [100, 5]


def test_replicate_client_cancels(client: Client, sandbox: Sandbox) -> None:
    sandbox.set(video_seconds=30)
    prediction = client.predictions.create(model=SEEDANCE, input={"prompt": "a"})
    prediction.cancel()
    assert prediction.status == "canceled"
    assert client.predictions.get(prediction.id).status == "canceled"


def test_replicate_client_reports_a_failed_model(client: Client, sandbox: Sandbox) -> None:
    sandbox.fault("moderated")
    with pytest.raises(replicate.exceptions.ModelError, match="flagged as sensitive"):
        client.run(FLUX, input={"prompt": "x"})


def test_replicate_client_reads_problems(client: Client) -> None:
    with pytest.raises(replicate.exceptions.ReplicateError) as wrong:
        client.predictions.create(model=SEEDANCE, input={"prompt": "a", "duration": "5"})
    assert wrong.value.status == 422
    assert (
        wrong.value.detail == "- input.duration: Invalid type. Expected: integer, given: string\n"
    )
    with pytest.raises(replicate.exceptions.ReplicateError) as missing:
        client.predictions.get("nosuchprediction")
    assert missing.value.status == 404


def test_replicate_client_validates_the_callback(
    client: Client, sandbox: Sandbox, receiver: Receiver
) -> None:
    secret = client.webhooks.default.secret()
    client.predictions.create(
        model=FLUX, input={"prompt": "a"}, webhook=f"{receiver.url}/callbacks/t0ken",
        webhook_events_filter=["completed"],
    )  # fmt: skip
    sandbox.wait_until(lambda: len(receiver.received) == 1)
    callback = receiver.received[0]
    body = callback.body.decode()
    client.webhooks.validate(headers=callback.headers, body=body, secret=secret, tolerance=300)
    with pytest.raises(WebhookValidationError):
        client.webhooks.validate(headers=callback.headers, body=body + " ", secret=secret)
    other = WebhookSigningSecret(key="whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3")
    with pytest.raises(WebhookValidationError):
        client.webhooks.validate(headers=callback.headers, body=body, secret=other)
