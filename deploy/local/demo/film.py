"""A film of several steps, for the demo: picture, clip, voice-over, music, captions and cover."""

import array
import io
import math
import sys
import wave
from typing import Any

from deploy.local.demo.client import ProductClient

NARRATION = "A paper boat sets sail in the rain, and the street becomes a river."
OFFSET_SECONDS = 0.5
"""When the voice begins in the film."""
SAMPLE_RATE = 22_050
NOTE_SECONDS = 0.25
LOUDEST = 12_000
CHORDS = (
    (220.0, 261.6, 329.6),
    (174.6, 220.0, 261.6),
    (130.8, 164.8, 196.0),
    (196.0, 246.9, 293.7),
)
"""In hertz: A minor, F, C and G."""


async def order_film(client: ProductClient, *, prompt: str, webhook: str) -> tuple[str, str]:
    """Upload music and order the film. Return the ids of the music and of the execution."""
    music = await client.upload("music.wav", music_file())
    return music, await client.execute({"plan": plan(prompt, music), "webhook": webhook})


def plan(prompt: str, music: str) -> dict[str, Any]:
    """Return the plan of the film. music: the id of an asset."""
    # Captions stand above the prompt, which the sandbox writes into its pictures.
    style = {"preset": "tiktok", "fontSize": 110, "alignment": "top-center", "marginV": 560}
    steps = [
        _step("image", "picture", prompt=prompt, aspectRatio="9:16"),
        _step(
            "video", "clip", prompt=prompt, image={"step": "picture"}, duration=5, resolution="720p"
        ),
        _step("audio", "voice", text=NARRATION) | {"model": "eleven_flash_v2_5"},
        _step(
            "merge", "film",
            items=[
                {"media": {"step": "clip"}},
                {"media": {"step": "voice"}, "offset": OFFSET_SECONDS},
                {"media": {"asset": music}, "volume": 0.5, "loop": True, "duck": True, "fadeOut": 1.5},
            ],
        ),
        _step(
            "captions", "subs",
            video={"step": "film"}, words={"step": "voice", "output": "words"}, style=style,
        ),
        _step("poster", "cover", source={"step": "subs"}, at=2),
    ]  # fmt: skip
    outputs = {"cover": {"step": "cover"}, "captions": {"step": "subs", "output": "srt"}}
    return {"version": 1, "steps": steps, "result": "subs", "outputs": outputs}


def _step(kind: str, name: str, **params: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "params": params}


def music_file() -> bytes:
    """Return eight seconds of plucked chords as a WAV file; they can be repeated."""
    samples = array.array("h")
    for chord in CHORDS:
        for number in range(8):
            samples.extend(_note(2 * chord[number % len(chord)]))
    if sys.byteorder == "big":
        samples.byteswap()
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return written.getvalue()


def _note(hertz: float) -> "array.array[int]":
    count = round(NOTE_SECONDS * SAMPLE_RATE)
    return array.array(
        "h",
        (
            round(
                LOUDEST
                * min(1, number / 100, (count - number) / 400)
                * math.exp(-4 * number / count)
                * math.sin(math.tau * hertz * number / SAMPLE_RATE)
            )
            for number in range(count)
        ),
    )
