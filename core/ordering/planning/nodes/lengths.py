"""How long the file of a paid step will be, before it is bought."""

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import StepKind
from core.media.operations.port import Expected, Output, Seconds
from core.ordering.planning.nodes.planned import TIMED, named_once
from core.providers.models import Model, ModelInputs

VIDEO_MARGIN: Final = 1.08
"""Models make films that are up to so much longer than requested."""
CHARACTERS_PER_SECOND: Final = Seconds(low=25, expected=15, worst=8)
"""Of speech at the usual speed: fast, usual and slow. ElevenLabs: 10,000 characters are about ten
minutes."""
SPEECH_MARGIN_SECONDS: Final = 2
_FOLLOWS: Final[Mapping[StepKind, tuple[str, ...]]] = {
    StepKind.LIP_SYNC: ("source", "audio"),
    StepKind.TALKING_HEAD: ("audio",),
    StepKind.CUTOUT: ("source",),
    StepKind.UPSCALE: ("source",),
}
"""The files whose length the output has: of several, the shortest."""
_DENSE_SCRIPTS: Final = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "ARABIC")
"""Scripts of which one character is spoken as several."""
_WORDS: Final = "words"


def outputs_of(model: Model) -> tuple[Output, ...]:
    """Return the outputs of a model. The words of a speech are named so, others by their kind."""

    def name(kind: MediaKind) -> str:
        is_words = kind is MediaKind.TRANSCRIPT and model.kind is StepKind.AUDIO
        return _WORDS if is_words else kind.value

    return tuple(named_once((name(output.kind), output.kind) for output in model.outputs))


def expected_outputs(
    model: Model, inputs: ModelInputs, files: Mapping[str, Expected]
) -> tuple[Expected, ...]:
    """Return what each output of a model will be. files: those that are known, by parameter."""
    seconds = _seconds(model, inputs, files)
    return tuple(
        Expected(
            kind=output.kind,
            seconds=seconds if output.kind in TIMED else None,
            has_sound=True if output.kind is MediaKind.AUDIO else None,
        )
        for output in model.outputs
    )


def _seconds(model: Model, inputs: ModelInputs, files: Mapping[str, Expected]) -> Seconds | None:
    if model.kind is StepKind.AUDIO:
        text = inputs.values.get("text") or inputs.values.get("prompt")
        return speech_seconds(str(text or ""), inputs.values.get("speed"))
    followed = [files[name].seconds for name in _FOLLOWS.get(model.kind, ()) if name in files]
    known = [seconds for seconds in followed if seconds is not None]
    if known:
        return Seconds(
            low=min(each.low for each in known),
            expected=min(each.expected for each in known),
            worst=min(each.worst for each in known),
        )
    requested = inputs.values.get("duration_seconds", model.measure.seconds)
    if isinstance(requested, int | float):
        return Seconds(low=requested, expected=requested, worst=requested * VIDEO_MARGIN)
    return None


def speech_seconds(text: str, speed: object = None) -> Seconds:
    """Return how long a text is when it is spoken. speed: 1 is the usual one."""
    factor = float(speed) if isinstance(speed, int | float) and speed > 0 else 1.0
    characters = len(text)
    worst = characters / CHARACTERS_PER_SECOND.worst
    if any(_is_dense(sign) for sign in text):
        worst *= 2
    return Seconds(
        low=characters / CHARACTERS_PER_SECOND.low / factor,
        expected=characters / CHARACTERS_PER_SECOND.expected / factor,
        worst=worst / factor + SPEECH_MARGIN_SECONDS,
    )


def _is_dense(sign: str) -> bool:
    return sign.isdigit() or unicodedata.name(sign, "").startswith(_DENSE_SCRIPTS)


def shortened(seconds: Seconds, most: float) -> Seconds:
    """Return the lengths of files that are not longer than this; longer ones are refused."""
    return replace(
        seconds,
        low=min(seconds.low, most),
        expected=min(seconds.expected, most),
        worst=min(seconds.worst, most),
    )
