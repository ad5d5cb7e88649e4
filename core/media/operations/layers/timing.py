"""When each picture and video of a layered film is shown.

Planning and rendering use the same functions: planning with estimates, rendering with the measured
lengths.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.domain.media.content import MediaKind
from core.media.operations.film.canvas import Canvas
from core.media.operations.film.pictures import Fit
from core.media.operations.layers.parameters import LayerItem, LayersParameters, TimelineItem
from core.media.operations.references import Reference

DEFAULT_PICTURE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of a layer. seconds: of its picture; 0 for a still picture."""

    kind: MediaKind
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A file in a layer, and when it is shown, in frames of the film.

    at: the exact start in seconds, for its sound. content: how many of the frames the file has, if
    it is not extended or repeated. skipped: seconds of the file before the first frame.
    """

    pointer: str
    layer: int
    item: LayerItem
    start: int
    at: float
    frames: int
    content: int
    skipped: float
    is_still: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """leader: the number of the layer that is audible; None: no layer has a length."""

    pieces: Sequence[Piece]
    frames: int
    leader: int | None


def files_of(place: int, item: LayerItem) -> list[tuple[str, TimelineItem]]:
    """Return the files of a layer with their pointers, a single one as a timeline of one."""
    if item.timeline is None:
        return [(f"items/{place}/media", TimelineItem(media=item.media or Reference(asset="-")))]
    return [
        (f"items/{place}/timeline/{number}/media", part)
        for number, part in enumerate(item.timeline)
    ]


def timing_of(
    parameters: LayersParameters, sources: Mapping[str, Source], canvas: Canvas
) -> Timing:
    """Place every file. sources: by pointer; a file that is missing is left out."""
    present = {
        place: parts
        for place, item in enumerate(parameters.items)
        if (parts := [part for part in files_of(place, item) if part[0] in sources])
    }
    lengths = {
        place: _length(parameters.items[place], parts, sources) for place, parts in present.items()
    }
    leader = _leader(parameters, lengths)
    seconds = parameters.duration
    if seconds is None and leader is not None:
        seconds = lengths[leader]
    if not seconds:
        return Timing(pieces=(), frames=0, leader=None)
    frames = canvas.frames(seconds)
    pieces = [
        piece
        for place, parts in present.items()
        for piece in _pieces(parameters.items, place, parts, sources, canvas, frames)
    ]
    return Timing(pieces=pieces, frames=frames, leader=leader)


def _length(
    item: LayerItem, parts: Sequence[tuple[str, TimelineItem]], sources: Mapping[str, Source]
) -> float:
    """Return when a layer ends by itself; 0 for a still picture without an end."""
    default = DEFAULT_PICTURE_SECONDS if item.timeline is not None else 0.0
    own = sum(_part_seconds(part, sources[pointer], default) for pointer, part in parts)
    if not own:
        return (item.end or 0.0) if item.main else 0.0
    if item.end is None:
        return item.start + own
    return item.end if item.main or item.repeats else min(item.end, item.start + own)


def _part_seconds(part: TimelineItem, source: Source, still: float) -> float:
    if part.duration is not None:
        return part.duration
    return still if source.kind is MediaKind.IMAGE else max(0.0, source.seconds - part.start)


def _leader(parameters: LayersParameters, lengths: Mapping[int, float]) -> int | None:
    items = parameters.items
    timelines = [place for place in lengths if items[place].timeline is not None]
    for place in lengths:
        if items[place].main:
            return place
    if timelines:
        return max(timelines, key=lambda place: (lengths[place], -place))
    with_length = (place for place, seconds in lengths.items() if seconds)
    return next(with_length, None)


def _pieces(
    items: Sequence[LayerItem],
    place: int,
    parts: Sequence[tuple[str, TimelineItem]],
    sources: Mapping[str, Source],
    canvas: Canvas,
    film_frames: int,
) -> list[Piece]:
    item = items[place]
    fit = Fit.LOOP if item.loop else item.fit or (Fit.EXTEND if place == 0 else Fit.CUT)
    first = at = round(item.start * canvas.frame_rate)
    end = film_frames
    if item.end is not None:
        end = min(end, round(item.end * canvas.frame_rate))
    still = _share(item, parts, sources, canvas.seconds(max(0, end - at)))
    pieces: list[Piece] = []
    for number, (pointer, part) in enumerate(parts):
        source = sources[pointer]
        is_still = source.kind is MediaKind.IMAGE
        is_last = number + 1 == len(parts)
        content = canvas.frames(max(0.0, source.seconds - part.start))
        frames = end - at
        if item.timeline is not None:
            frames = min(frames, canvas.frames(_part_seconds(part, source, still)))
        if is_last and fit is not Fit.CUT:
            frames = end - at
        elif not is_still and not (item.repeats or part.duration):
            frames = min(frames, content)
        if frames > 0:
            pieces.append(
                Piece(
                    pointer=pointer,
                    layer=place,
                    item=item,
                    start=at,
                    at=item.start + canvas.seconds(at - first),
                    frames=frames,
                    content=content,
                    skipped=part.start,
                    is_still=is_still,
                )
            )
        at += max(0, frames)
    return pieces


def _share(
    item: LayerItem,
    parts: Sequence[tuple[str, TimelineItem]],
    sources: Mapping[str, Source],
    seconds: float,
) -> float:
    """Return how long each picture without a duration is shown."""
    if item.timeline is None:
        return seconds
    fixed = sum(_part_seconds(part, sources[pointer], 0.0) for pointer, part in parts)
    free = sum(
        part.duration is None and sources[pointer].kind is MediaKind.IMAGE
        for pointer, part in parts
    )
    return max(DEFAULT_PICTURE_SECONDS / 10, (seconds - fixed) / free) if free else 0.0
