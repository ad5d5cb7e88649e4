"""The files that an input names: what the sandbox records of them, and how it refuses them."""

import base64
import hashlib
import http.server
import threading
from collections.abc import Iterator

import pytest

from sandbox.files.encoding import sound
from sandbox.files.renderer import picture, tiny_video
from sandbox.files.speech import speak
from tests.sandbox.kinds.calls import fal, refused, replicate
from tests.sandbox.process import PIXEL, Sandbox

PICTURE = picture(prompt="a", width=96, height=54, seed=1, image_format="png")
END_PICTURE = picture(prompt="b", width=96, height=54, seed=2, image_format="jpeg")
SPEECH = sound(speak("a user's own words are spoken here slowly").samples, "mp3")
CLIP = tiny_video(1280, 720, 3)
FILES = {"/start.png": PICTURE, "/end.jpg": END_PICTURE, "/words.mp3": SPEECH, "/clip.mp4": CLIP}


@pytest.fixture(scope="module")
def shelf() -> Iterator[str]:
    """Return the address of a server with the files of a user."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = FILES.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def fetched(sandbox: Sandbox) -> dict[str, tuple[str, str]]:
    """Return the field and hash of each file of the latest job, by role."""
    records = sandbox.jobs()[-1]["fetched"]
    return {record["role"]: (record["field"], record["sha256"]) for record in records}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_start_end_and_audio_are_recorded_as_they_arrived(quick: Sandbox, shelf: str) -> None:
    fal(
        quick, "fal-ai/wan/v2.7/image-to-video", prompt="fly", image_url=f"{shelf}/start.png",
        end_image_url=f"{shelf}/end.jpg", audio_url=f"{shelf}/words.mp3",
    )  # fmt: skip
    assert fetched(quick) == {
        "image": ("image_url", sha256(PICTURE)),
        "end_image": ("end_image_url", sha256(END_PICTURE)),
        "audio": ("audio_url", sha256(SPEECH)),
    }
    start = next(record for record in quick.jobs()[-1]["fetched"] if record["role"] == "image")
    assert (start["width"], start["height"], start["bytes"]) == (96, 54, len(PICTURE))


def test_video_and_audio_are_measured(quick: Sandbox, shelf: str) -> None:
    replicate(
        quick, "kwaivgi/kling-lip-sync", video_url=f"{shelf}/clip.mp4", audio_file=f"{shelf}/words.mp3"
    )  # fmt: skip
    records = {record["role"]: record for record in quick.jobs()[-1]["fetched"]}
    assert fetched(quick) == {
        "video": ("video_url", sha256(CLIP)),
        "audio": ("audio_file", sha256(SPEECH)),
    }
    assert (records["video"]["seconds"], records["video"]["frames"]) == (3.0, 72)
    assert records["audio"]["seconds"] == speak("a user's own words are spoken here slowly").seconds


def test_list_of_pictures_is_recorded_in_its_order(quick: Sandbox, shelf: str) -> None:
    urls = [f"{shelf}/end.jpg", f"{shelf}/start.png"]
    fal(quick, "fal-ai/nano-banana/edit", prompt="both", image_urls=urls)
    hashes = [record["sha256"] for record in quick.jobs()[-1]["fetched"]]
    assert hashes == [sha256(END_PICTURE), sha256(PICTURE)]


def test_data_uri_is_recorded(quick: Sandbox) -> None:
    fal(quick, "pixelcut/background-removal", image_url=PIXEL)
    assert fetched(quick)["image"][1] == sha256(base64.b64decode(PIXEL.partition(",")[2]))


@pytest.mark.parametrize(
    ("model", "order", "kind", "field"),
    [
        ("fal-ai/wan/v2.7/image-to-video", {"image_url": "/none.png"}, "file_download_error", "image_url"),
        ("fal-ai/wan/v2.7/image-to-video", {"image_url": "/start.png", "end_image_url": "/words.mp3"},
         "image_load_error", "end_image_url"),
        ("veed/lipsync", {"video_url": "/start.png", "audio_url": "/words.mp3"},
         "unsupported_video_format", "video_url"),
        ("veed/lipsync", {"video_url": "/clip.mp4", "audio_url": "/none.mp3"}, "file_download_error", "audio_url"),
        ("fal-ai/elevenlabs/speech-to-text", {"audio_url": "/start.png"}, "unsupported_audio_format", "audio_url"),
        ("fal-ai/wan-25-preview/text-to-video", {"audio_url": "/words.mp3"}, "audio_duration_too_short", "audio_url"),
    ],
)  # fmt: skip
def test_unusable_file_fails_like_the_vendor(
    quick: Sandbox, shelf: str, model: str, order: dict[str, str], kind: str, field: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if kind == "audio_duration_too_short":
        monkeypatch.setitem(FILES, "/words.mp3", sound(speak("a").samples, "mp3"))
    named = {name: f"{shelf}{path}" for name, path in order.items()}
    detail = refused(quick, model, prompt="fly", **named)
    assert (detail["type"], detail["loc"], detail["url"]) == (kind, ["body", field], named[field])
    assert quick.bill()["lines"][-1]["billed_nano_usd"] == 0


def test_empty_list_of_pictures_is_rejected(quick: Sandbox) -> None:
    detail = refused(quick, "fal-ai/nano-banana/edit", prompt="a", image_urls=[])
    assert (detail["type"], detail["loc"]) == ("too_short", ["body", "image_urls"])


def test_replicate_reports_an_unusable_file(quick: Sandbox, shelf: str) -> None:
    order = {"video_url": f"{shelf}/clip.mp4", "audio_file": f"{shelf}/start.png"}
    failed = quick.predicted(quick.predict("kwaivgi/kling-lip-sync", input=order))
    assert failed["status"] == "failed"
    assert failed["error"] == f"The audio file can't be decoded: {shelf}/start.png"


def test_cancelled_run_is_charged_by_its_measured_files(quick: Sandbox, shelf: str) -> None:
    quick.set(video_seconds=30)
    order = {"video_url": f"{shelf}/clip.mp4", "audio_file": f"{shelf}/words.mp3"}
    created = quick.predict("kwaivgi/kling-lip-sync", input=order).json()
    quick.wait_until(lambda: quick.prediction(created["id"])["status"] == "processing")
    answer = quick.client.post(
        f"/replicate/v1/predictions/{created['id']}/cancel", headers={"Authorization": "Bearer r8_token"}
    )  # fmt: skip
    assert answer.json()["status"] == "canceled"
    line = quick.bill()["lines"][-1]
    assert (line["billable_units"], line["billed_nano_usd"]) == (3, 42_000_000)
