"""The kinds of orders: what is requested, how many purchases it takes, and what it makes.

No kind buys two steps at one model, so that a second purchase of a step shows on the bill.
"""

import io
import struct
import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sandbox.files.speech import SAMPLE_RATE, speak

WORDS: Final = "a red kite over a grey harbour"
FLUX: Final = "black-forest-labs/flux-schnell"
SPEECH_MODEL: Final = "eleven_multilingual_v2"
DENIED_VOICE: Final = "21m00Tcm4TlvDq8ikWAM"
"""ElevenLabs refuses each request for it."""


def _prompt(token: str) -> str:
    return f"{token}: {WORDS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of order.

    body: by the order's token, which is in its prompts and texts. paid: the purchases of an order
    that completes. makes: the kind of its result's file. words: of each of its transcripts.
    in_sequence: each send is accepted before the next one begins. uploads: a recording is uploaded
    first, and is its source.
    """

    name: str
    route: str
    body: Callable[[str], Mapping[str, Any]]
    paid: int
    makes: str
    words: int = len(_prompt("token").split())
    in_sequence: bool = True
    uploads: bool = False


def _step(kind: str, name: str, models: Sequence[str], **params: object) -> dict[str, Any]:
    chosen = {"model": models[0]} if len(models) == 1 else {"models": list(models)}
    return {"name": name, "kind": kind, **chosen, "params": params}


def _plan(*steps: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"plan": {"version": 1, "steps": steps, "result": steps[-1]["name"]}}


def _picture(token: str) -> dict[str, Any]:
    return _step("image", "picture", [FLUX], prompt=_prompt(token))


def _edited(token: str) -> Mapping[str, Any]:
    edit = {"prompt": _prompt(token), "image": {"step": "picture"}}
    return _plan(_picture(token), _step("image", "edited", ["fal-ai/flux-pro/kontext"], **edit))


def _talking_head(token: str) -> Mapping[str, Any]:
    files = {"image": {"step": "picture"}, "audio": {"step": "voice"}}
    return _plan(
        _picture(token),
        _step("audio", "voice", [SPEECH_MODEL], text=_prompt(token)),
        _step("talking-head", "host", ["veed/fabric-1.0"], **files),
    )


def _finished(token: str) -> Mapping[str, Any]:
    """Return a picture that is enlarged, without its background."""
    return _plan(
        _picture(token),
        _step("upscale", "large", ["fal-ai/recraft/upscale/crisp"], source={"step": "picture"}),
        _step("cutout", "cut", ["bria/remove-background"], source={"step": "large"}),
    )


def _dubbed(token: str) -> Mapping[str, Any]:
    files = {"source": {"step": "clip"}, "audio": {"step": "voice"}}
    return _plan(
        _step("video", "clip", ["wan-video/wan-2.2-t2v-fast"], prompt=_prompt(token)),
        _step("audio", "voice", [SPEECH_MODEL], text=_prompt(token)),
        _step("lip-sync", "film", ["fal-ai/sync-lipsync/v2"], **files),
    )


def _refused_first(token: str) -> Mapping[str, Any]:
    """Return a step whose first model refuses the voice."""
    models = [SPEECH_MODEL, "fal-ai/elevenlabs/tts/turbo-v2.5"]
    return _plan(_step("audio", "voice", models, text=_prompt(token), voice=DENIED_VOICE))


def _with_alternative(token: str) -> Mapping[str, Any]:
    """Return a step whose first model accepts."""
    return _plan(_step("image", "picture", [FLUX, "fal-ai/flux/schnell"], prompt=_prompt(token)))


PAUSE: Final = " " * 1_500
"""Makes a text too long to be requested with word times, but not long to speak: the sandbox needs a
second of processor time for a minute of speech, which can outlast a horizon under load.
"""

VIDEO: Final = Kind(
    name="video",
    route="generate-video",
    body=lambda token: {"prompt": _prompt(token), "duration": 2, "resolution": "480p"},
    paid=2,
    makes="video",
)
IMAGE: Final = Kind(
    name="image",
    route="generate-image",
    body=lambda token: {"prompt": _prompt(token), "model": FLUX},
    paid=1,
    makes="image",
)
SPEECH: Final = Kind(
    name="speech",
    route="generate-audio",
    body=lambda token: {"text": _prompt(token), "model": SPEECH_MODEL},
    paid=1,
    makes="audio",
)
LONG_SPEECH: Final = Kind(
    name="long speech",
    route="generate-audio",
    body=lambda token: {
        "text": f"{_prompt(token)}{PAUSE}again",
        "model": "eleven_flash_v2_5",
    },
    paid=1,
    makes="audio",
    words=1 + len(_prompt("token").split()),
)
TRANSCRIPT: Final = Kind(
    name="transcript",
    route="transcribe",
    body=lambda token: {},
    paid=1,
    makes="transcript",
    uploads=True,
)
EDIT: Final = Kind(name="edit", route="executions", body=_edited, paid=2, makes="image")
TALKING_HEAD: Final = Kind(
    name="talking head",
    route="executions",
    body=_talking_head,
    paid=3,
    makes="video",
    in_sequence=False,
)
FINISHED: Final = Kind(
    name="finished picture", route="executions", body=_finished, paid=3, makes="image"
)
DUBBED: Final = Kind(
    name="dubbed", route="executions", body=_dubbed, paid=3, makes="video", in_sequence=False
)
REFUSED_FIRST: Final = Kind(
    name="refused first",
    route="executions",
    body=_refused_first,
    paid=1,
    makes="audio",
    in_sequence=False,
)
WITH_ALTERNATIVE: Final = Kind(
    name="with alternative", route="executions", body=_with_alternative, paid=1, makes="image"
)

_OTHERS: Final = (
    SPEECH,
    IMAGE,
    REFUSED_FIRST,
    EDIT,
    TRANSCRIPT,
    LONG_SPEECH,
    WITH_ALTERNATIVE,
    TALKING_HEAD,
    FINISHED,
    DUBBED,
)
MIX: Final = tuple(kind for other in _OTHERS for kind in (VIDEO, other, VIDEO))
"""The orders of the rounds in turn; the random mix takes them by chance."""


def recording(token: str) -> bytes:
    """Return a spoken text as a WAV file that no other order has: the number is in its end."""
    number = int(token.rpartition("-")[2])
    mark = struct.pack("<hh", number % 100, number // 100 % 100)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(SAMPLE_RATE)
        sound.writeframes(speak(_prompt(token)).samples[: -len(mark)] + mark)
    return file.getvalue()
