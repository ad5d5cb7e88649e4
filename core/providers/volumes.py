"""The quantities of a job, from its inputs and the model's measure."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from core.domain.media.containers.facts import MediaFacts
from core.providers.models import Model, ModelInputs

USUAL_SECONDS: Final = 10
"""Assumed for the estimate of a job whose file is of unknown length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """The quantities that a job's units are counted from; None for a quantity that does not apply.

    pixels: of one image or frame. frames, seconds: of the video or audio, rounded up.
    characters: of the input text. credits: for the text, without discounts, rounded up.
    tokens: where they are not derived from frames. runs: of the model.
    gpu_seconds: run time.
    """

    images: int | None = None
    videos: int | None = None
    pixels: int | None = None
    frames: int | None = None
    seconds: int | None = None
    characters: int | None = None
    credits: int | None = None
    tokens: int | None = None
    runs: int | None = None
    gpu_seconds: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """The least, the usual and the largest volume of a completed job. They are equal if known."""

    least: Volume
    usual: Volume
    most: Volume


@dataclass(frozen=True, slots=True)
class _Span:
    """A quantity between its bounds."""

    least: Decimal
    usual: Decimal
    most: Decimal

    def times(self, other: "_Span") -> "_Span":
        return _Span(self.least * other.least, self.usual * other.usual, self.most * other.most)

    @property
    def whole(self) -> tuple[int, int, int]:
        return math.ceil(self.least), math.ceil(self.usual), math.ceil(self.most)


_NOT_APPLICABLE: Final = (None, None, None)


def volumes(model: Model, inputs: ModelInputs) -> Volumes:
    """Return the volumes that a job with these inputs may have."""
    measure = model.measure
    seconds, pixels = _seconds(model, inputs), _pixels(model, inputs)
    frames = None
    if seconds is not None and measure.frames_per_second is not None:
        frames = seconds.times(_frame_rate(model, inputs, measure.frames_per_second))
    counted = inputs.values.get(measure.characters) if measure.characters else None
    characters = len(counted) if isinstance(counted, str) else None
    credits_ = None
    if characters is not None and measure.credits_per_character is not None:
        credits_ = math.ceil(characters * Decimal(measure.credits_per_character))
    least, usual, most = (
        Volume(
            images=measure.images,
            videos=measure.videos,
            characters=characters,
            credits=credits_,
            seconds=second,
            frames=frame,
            pixels=pixel,
        )
        for second, frame, pixel in zip(
            *(
                span.whole if span is not None else _NOT_APPLICABLE
                for span in (seconds, frames, pixels)
            ),
            strict=True,
        )
    )
    return Volumes(least=least, usual=usual, most=most)


def _exactly(value: float) -> _Span:
    exact = Decimal(str(value))
    return _Span(exact, exact, exact)


def _seconds(model: Model, inputs: ModelInputs) -> _Span | None:
    measure = model.measure
    if measure.seconds is not None:
        return _exactly(measure.seconds)
    spans = [span for name in measure.seconds_of if (span := _seconds_of(model, inputs, name))]
    if not spans:
        return None
    return _Span(
        min(span.least for span in spans),
        min(span.usual for span in spans),
        min(span.most for span in spans),
    )


def _seconds_of(model: Model, inputs: ModelInputs, name: str) -> _Span | None:
    value = inputs.values.get(name)
    if value is not None:
        return _exactly(float(value)) if isinstance(value, int | float) else None
    facts = _facts(inputs, name)
    if facts is not None and facts.duration_seconds is not None:
        return _exactly(facts.duration_seconds)
    item, file = model.input(name), inputs.media.get(name)
    if file is not None and file.lengths is not None:
        lengths = file.lengths
        return _Span(*(Decimal(str(each)) for each in (lengths.least, lengths.usual, lengths.most)))
    if item is None or item.maximum is None:
        return None
    most = Decimal(str(item.maximum))
    least = Decimal(str(item.minimum or 1))
    return _Span(least, min(max(least, Decimal(USUAL_SECONDS)), most), most)


def _frame_rate(model: Model, inputs: ModelInputs, most: int) -> _Span:
    files = [facts for name in model.measure.seconds_of if (facts := _facts(inputs, name))]
    known = next((facts.frame_rate for facts in files if facts.frame_rate is not None), None)
    if known is not None:
        return _exactly(known)
    if any(name in inputs.values for name in model.measure.seconds_of):
        return _exactly(most)
    usual = Decimal(min(30, most))
    return _Span(usual, usual, Decimal(most))


def _pixels(model: Model, inputs: ModelInputs) -> _Span | None:
    measure = model.measure
    if measure.pixels_of is not None and measure.pixels_most is not None:
        facts = _facts(inputs, measure.pixels_of)
        scale = inputs.values.get(measure.scaled_by) if measure.scaled_by else 1
        factor = _exactly(float(scale) if isinstance(scale, int | float) else 1)
        if facts is not None and facts.width is not None and facts.height is not None:
            pixels = _exactly(facts.width * facts.height)
        else:
            pixels = _Span(Decimal(1), Decimal(1_000_000), Decimal(measure.pixels_most))
        return pixels.times(factor).times(factor)
    for entry in measure.pixels:
        if inputs.fit(entry.when):
            least = entry.most if entry.least is None else entry.least
            usual = entry.most if entry.usual is None else entry.usual
            return _Span(Decimal(least), Decimal(usual), Decimal(entry.most))
    return None


def _facts(inputs: ModelInputs, name: str) -> MediaFacts | None:
    file = inputs.media.get(name)
    return file.facts if file is not None else None
