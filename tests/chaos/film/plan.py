"""A film of six paid and six media steps.

Each prompt and text has a number of its own, so that a line of the bill shows its step. The files
do not depend on the number: the sandbox draws tiny pictures without their prompt, and speaks each
word as a tone as long as the word. So every film has the same bytes. No paid step reuses an earlier
purchase: each film has its own lines on the bill, and only media steps claim content keys.
"""

from collections.abc import Mapping
from typing import Any, Final

from tests.chaos.kinds import FLUX, SPEECH_MODEL, Kind

PAID: Final = ("harbour", "kite", "title", "flight", "wind", "voice")
MEDIA: Final = ("cut", "film", "wide", "subs", "cover", "teaser")
PICTURES: Final = frozenset({"cover", "teaser"})
"""Media steps whose files are written at the end of their work."""
STEPS: Final = (*PAID, *MEDIA)
RESULT: Final = "subs"
_NUMBERS_PER_FILM: Final = 100
_PROMPT: Final = "a red kite over a grey harbour"
_CAPTIONS: Final = [
    {"text": "Red", "start": 0.1, "end": 0.5},
    {"text": "kite", "start": 0.6, "end": 1.2},
]


def step_token(film: int, step: str) -> str:
    """Return the token in the prompt of a paid step."""
    return f"chaos-{film * _NUMBERS_PER_FILM + STEPS.index(step):06d}"


def step_of_token(token: str) -> tuple[int, str] | None:
    """Return the film and the step of a token in a prompt; None for a film's own token."""
    film, step = divmod(int(token.rpartition("-")[2]), _NUMBERS_PER_FILM)
    return (film, STEPS[step]) if film and step < len(STEPS) else None


def _body(token: str) -> Mapping[str, Any]:
    film = int(token.rpartition("-")[2])

    def step(name: str, kind: str, params: Mapping[str, object], **more: object) -> dict[str, Any]:
        return {"name": name, "kind": kind, "params": params, **more}

    def prompt(name: str) -> str:
        return f"{step_token(film, name)}: {_PROMPT}"

    clip = {"duration": 2, "resolution": "480p", "seed": 7}
    seedance = "fal-ai/bytedance/seedance/v1/pro/image-to-video"
    items = [
        {"media": {"step": "title"}, "duration": 0.5},
        {"media": {"step": "flight"}, "duration": 1},
        {"media": {"step": "cut"}},
        {"media": {"step": "voice"}, "offset": 0.25, "duration": 1.5},
    ]
    steps = [
        step("harbour", "image", {"prompt": prompt("harbour")}, model=FLUX),
        step("kite", "image", {"prompt": prompt("kite")}, model="fal-ai/flux/schnell"),
        step("title", "image", {"prompt": prompt("title")}, model=FLUX),
        step("flight", "video", {"prompt": prompt("flight"), "image": {"step": "harbour"}, **clip},
             model=seedance),
        step("wind", "video", {"prompt": prompt("wind"), "image": {"step": "kite"}, **clip},
             model="bytedance/seedance-1-pro"),
        step("voice", "audio", {"text": prompt("voice")}, model=SPEECH_MODEL, reuse=False),
        step("cut", "trim", {"source": {"step": "wind"}, "start": 0.25, "duration": 1}),
        step("film", "merge", {"items": items, "width": 160, "height": 90}),
        step("wide", "reframe", {"source": {"step": "film"}, "aspectRatio": "1:1", "width": 96}),
        step(RESULT, "captions", {"video": {"step": "wide"}, "words": _CAPTIONS}),
        step("cover", "poster", {"source": {"step": RESULT}, "at": 1}),
        step("teaser", "preview", {"source": {"step": RESULT}, "duration": 1, "width": 96}),
    ]  # fmt: skip
    outputs = {"cover": {"step": "cover"}, "teaser": {"step": "teaser"}}
    return {"plan": {"version": 1, "steps": steps, "result": RESULT, "outputs": outputs}}


FILM: Final = Kind(
    name="film",
    route="executions",
    body=_body,
    paid=len(PAID),
    makes="video",
    in_sequence=False,
)
