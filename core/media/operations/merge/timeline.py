"""When each item of a merged film begins and ends.

Planning and rendering use the same functions: planning with estimates, rendering with the measured
lengths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.media.content import MediaKind
from core.media.operations.film.canvas import Canvas
from core.media.operations.film.pictures import Fit
from core.media.operations.merge.parameters import (
    DEFAULT_IMAGE_SECONDS,
    ItemType,
    MergeItem,
    MergeParameters,
    TransitionType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """An item with the file that it names. seconds: of the file; 0 for a picture."""

    pointer: str
    item: MergeItem
    kind: MediaKind
    seconds: float

    @property
    def is_visible(self) -> bool:
        return self.kind is not MediaKind.AUDIO and self.item.type is not ItemType.AUDIO

    @property
    def is_still(self) -> bool:
        return self.kind is MediaKind.IMAGE

    @property
    def left(self) -> float:
        """Return the seconds of the file after the item's start."""
        return max(0.0, self.seconds - self.item.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A visible item in the film. overlap: frames that it shares with the next clip."""

    source: Source
    frames: int
    transition: TransitionType
    overlap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """A sound on the time line. skipped: seconds after the item's start that are left out."""

    source: Source
    at: float
    skipped: float
    seconds: float
    repeats: bool

    @property
    def end(self) -> float:
        return self.at + self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """joined_frames: of the clips; frames: of the film, which its sounds may make longer."""

    clips: Sequence[Clip]
    sounds: Sequence[Sound]
    joined_frames: int
    frames: int
    shortened: Sequence[str]
    """Pointers of the clips that were too short for their transition."""


def timeline_of(sources: Sequence[Source], parameters: MergeParameters, canvas: Canvas) -> Timeline:
    """Place every item. A film without clips lasts as long as its sounds."""
    clips, shortened = _clips([s for s in sources if s.is_visible], parameters, canvas)
    joined = sum(clip.frames - clip.overlap for clip in clips)
    audible = [source for source in sources if not source.is_visible]
    ends = [_end(source) for source in audible if not _is_bed(source.item)]
    sounds_end = max(ends, default=0.0)
    if not clips and not ends:
        sounds_end = max((_end(source) for source in audible), default=0.0)
    frames = joined
    if not clips or parameters.fit is not Fit.CUT:
        frames = max(joined, math.ceil(sounds_end * canvas.frame_rate - 1e-6))
    film_seconds = canvas.seconds(frames) if clips else sounds_end
    sounds = [_sound(source, film_seconds) for source in audible]
    return Timeline(
        clips=clips,
        sounds=[sound for sound in sounds if sound.seconds > 0],
        joined_frames=joined,
        frames=frames,
        shortened=shortened,
    )


def _is_bed(item: MergeItem) -> bool:
    return item.loop or item.duck


def _clips(
    visible: Sequence[Source], parameters: MergeParameters, canvas: Canvas
) -> tuple[list[Clip], list[str]]:
    lengths = [canvas.frames(_clip_seconds(source, parameters.fit)) for source in visible]
    clips: list[Clip] = []
    shortened: list[str] = []
    for place, source in enumerate(visible):
        transition = source.item.transition or parameters.transition
        overlap = 0
        if transition.type is not TransitionType.CUT and place + 1 < len(visible):
            overlap = canvas.frames(transition.duration)
            shorter = min(lengths[place], lengths[place + 1])
            if overlap > shorter // 2:
                overlap = shorter // 2
                shortened.append(source.pointer)
        clips.append(
            Clip(
                source=source,
                frames=lengths[place],
                transition=transition.type if overlap else TransitionType.CUT,
                overlap=overlap,
            )
        )
    return clips, shortened


def _clip_seconds(source: Source, fit: Fit) -> float:
    duration = source.item.duration
    if source.is_still:
        return duration or DEFAULT_IMAGE_SECONDS
    if duration is None or (fit is Fit.CUT and duration > source.left):
        return source.left
    return duration


def _end(source: Source) -> float:
    """Return when a sound ends in the film, if it is not repeated."""
    duration = source.item.duration
    length = source.left if duration is None else duration
    if not source.item.loop:
        length = min(length, source.left)
    return max(0.0, source.item.offset + length)


def _sound(source: Source, film_seconds: float) -> Sound:
    item = source.item
    at = max(0.0, item.offset)
    end = _end(source)
    if item.loop and item.duration is None:
        end = film_seconds
    end = min(end, film_seconds)
    skipped = max(0.0, -item.offset)
    repeats = item.loop and end - at + skipped > source.left
    if repeats and source.left > 0:
        skipped %= source.left
    return Sound(
        source=source,
        at=at,
        skipped=skipped,
        seconds=end - at,
        repeats=repeats,
    )
