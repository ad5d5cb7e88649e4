"""Calls of the sandbox's models, and their outputs."""

import io
from typing import Any

import av

from tests.sandbox.process import Sandbox

VOICE = "fal-ai/elevenlabs/tts/turbo-v2.5"
SCRIBE = "fal-ai/elevenlabs/speech-to-text/scribe-v2"
VEO = "fal-ai/veo3.1/lite"
TEXT = "It never asks where the wind comes from."
LONG_TEXT = "A red kite over a harbour. " * 8


def fal(sandbox: Sandbox, model: str, **order: Any) -> dict[str, Any]:
    """Return the output of a successful request."""
    answer = sandbox.fal_result(sandbox.submit(model, **order))
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(sandbox: Sandbox, model: str, **order: Any) -> dict[str, Any]:
    """Return the first detail of a request that the model rejects."""
    answer = sandbox.fal_result(sandbox.submit(model, **order))
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"][0]


def replicate(sandbox: Sandbox, model: str, **order: Any) -> dict[str, Any]:
    """Return a successful prediction."""
    prediction = sandbox.predicted(sandbox.predict(model, input=order))
    assert prediction["status"] == "succeeded", prediction
    return prediction


def last_line(sandbox: Sandbox) -> dict[str, Any]:
    line: dict[str, Any] = sandbox.bill()["lines"][-1]
    return line


def billed(sandbox: Sandbox) -> tuple[float, int]:
    """Return units and nano-USD of the latest job."""
    line = last_line(sandbox)
    assert line["state"] == "succeeded", line
    return line["billable_units"], line["billed_nano_usd"]


def content(sandbox: Sandbox, url: str) -> bytes:
    answer = sandbox.client.get(url)
    assert answer.status_code == 200
    return answer.content


def lengths(file: bytes) -> dict[str, float]:
    """Return the seconds of each kind of stream."""
    with av.open(io.BytesIO(file), "r") as container:
        return {
            stream.type: float((stream.duration or 0) * (stream.time_base or 0))
            for stream in container.streams
        }


def voice(sandbox: Sandbox, text: str = TEXT) -> str:
    url: str = fal(sandbox, VOICE, text=text)["audio"]["url"]
    return url


def picture(sandbox: Sandbox) -> str:
    url: str = fal(sandbox, "fal-ai/nano-banana", prompt="a kite", aspect_ratio="16:9")["images"][
        0
    ]["url"]
    return url


def clip(sandbox: Sandbox, **order: Any) -> str:
    """Return a video of four seconds, 16:9."""
    url: str = fal(sandbox, VEO, prompt="fly", duration="4s", **order)["video"]["url"]
    return url
