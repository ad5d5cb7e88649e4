"""What a merge will make, and what is wrong with it, before a file exists."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from core.domain.media.content import MediaKind
from core.media.operations.film.canvas import (
    Canvas,
    Size,
    film_rate,
    film_size,
    picture_seconds,
)
from core.media.operations.merge.parameters import (
    MAX_IMAGE_SECONDS,
    ItemType,
    MergeItem,
    MergeParameters,
)
from core.media.operations.merge.timeline import Source, Timeline, timeline_of
from core.media.operations.port import Expected, Fault, Probe, Seconds

ACCEPTED = {
    None: frozenset({MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO}),
    ItemType.IMAGE: frozenset({MediaKind.IMAGE}),
    ItemType.VIDEO: frozenset({MediaKind.VIDEO}),
    ItemType.AUDIO: frozenset({MediaKind.AUDIO, MediaKind.VIDEO}),
}
UNKNOWN_SECONDS = Seconds(low=1, expected=30, worst=600)
"""The length of a file of which nothing is known."""

_PLANNED_SIZE = Size(1280, 720)
"""Stands for a size that is not known yet, where only durations are computed."""


def pointer_of(place: int) -> str:
    return f"items/{place}/media"


def sources_of(
    parameters: MergeParameters,
    inputs: Mapping[str, Expected],
    seconds: Callable[[Expected], float],
) -> list[Source]:
    """Return the items whose files are there, with one estimate of their lengths."""
    return [
        Source(
            pointer=pointer_of(place),
            item=item,
            kind=expected.kind,
            seconds=0 if expected.kind is MediaKind.IMAGE else seconds(expected),
        )
        for place, item in enumerate(parameters.items)
        if (expected := inputs.get(pointer_of(place))) is not None
    ]


def worst(expected: Expected) -> float:
    return (expected.seconds or UNKNOWN_SECONDS).worst


def _shortest(expected: Expected) -> float:
    return (expected.seconds or UNKNOWN_SECONDS).low


def _usual(expected: Expected) -> float:
    return (expected.seconds or UNKNOWN_SECONDS).expected


def measured(parameters: MergeParameters, probes: Mapping[str, Probe]) -> dict[str, Expected]:
    """Return the measured files in the form of estimates.

    A clip lasts as long as its picture, another item as long as its sound.
    """
    inputs: dict[str, Expected] = {}
    for place, item in enumerate(parameters.items):
        probe = probes.get(pointer_of(place))
        if probe is None:
            continue
        is_seen = probe.kind is not MediaKind.AUDIO and item.type is not ItemType.AUDIO
        length = picture_seconds(probe) if is_seen else probe.sound_seconds or probe.seconds
        inputs[pointer_of(place)] = Expected(
            kind=probe.kind,
            seconds=Seconds(low=length, expected=length, worst=length),
            width=probe.width or None,
            height=probe.height or None,
            frame_rate=probe.frame_rate or None,
            has_sound=probe.audio_stream is not None,
        )
    return inputs


def visible_inputs(parameters: MergeParameters, inputs: Mapping[str, Expected]) -> list[Expected]:
    """Return the inputs that are seen, in their order."""
    return [
        inputs[source.pointer]
        for source in sources_of(parameters, inputs, worst)
        if source.is_visible
    ]


def expectation(parameters: MergeParameters, inputs: Mapping[str, Expected]) -> Expected:
    """Return what the film or sound will be."""
    visible = visible_inputs(parameters, inputs)
    rates = [e.frame_rate for e in visible if e.kind is MediaKind.VIDEO]
    rate = film_rate(rates[0] if rates else None)
    canvas = Canvas(size=_PLANNED_SIZE, frame_rate=rate)
    low, usual, longest = (
        _seconds(timeline_of(sources_of(parameters, inputs, estimate), parameters, canvas), canvas)
        for estimate in (
            _shortest,
            _usual,
            worst,
        )
    )
    seconds = Seconds(low=low, expected=usual, worst=longest)
    if not visible:
        return Expected(kind=MediaKind.AUDIO, seconds=seconds, has_sound=True)
    first = visible[0]
    size = None
    if (first.width and first.height) or (parameters.width and parameters.height):
        source = Size(first.width or 1, first.height or 1)
        size = film_size(source, first.kind, width=parameters.width, height=parameters.height)
    is_known_rate = parameters.fps or not rates or rates[0]
    return Expected(
        kind=MediaKind.VIDEO,
        seconds=seconds,
        width=size.width if size else None,
        height=size.height if size else None,
        frame_rate=(parameters.fps or float(rate)) if is_known_rate else None,
        has_sound=_has_sound(parameters, inputs),
    )


def _seconds(timeline: Timeline, canvas: Canvas) -> float:
    if timeline.clips:
        return canvas.seconds(timeline.frames)
    return max((sound.end for sound in timeline.sounds), default=0.0)


def _has_sound(parameters: MergeParameters, inputs: Mapping[str, Expected]) -> bool | None:
    audible = [
        inputs[source.pointer].has_sound
        for source in sources_of(parameters, inputs, worst)
        if source.kind is not MediaKind.IMAGE and (source.item.volume > 0 or not source.is_visible)
    ]
    if any(audible):
        return True
    return None if None in audible else False


def faults_of(parameters: MergeParameters, inputs: Mapping[str, Expected]) -> Sequence[Fault]:
    """Return every fault of the items with their files."""
    return [
        Fault(pointer=f"items/{place}/{name}", message=message)
        for place in range(len(parameters.items))
        if (expected := inputs.get(pointer_of(place))) is not None
        for name, message in _item_faults(parameters, place, expected)
    ]


def _item_faults(
    parameters: MergeParameters, place: int, expected: Expected
) -> Iterator[tuple[str, str]]:
    item = parameters.items[place]
    source = sources_of(parameters, {pointer_of(place): expected}, worst)[0]
    if expected.kind not in ACCEPTED[item.type]:
        allowed = " or ".join(sorted(kind.value for kind in ACCEPTED[item.type]))
        yield "media", f"is of the kind {expected.kind.value}; the type {item.type} needs {allowed}"
        return
    if source.is_visible:
        yield from _clip_faults(item)
    elif expected.has_sound is False:
        yield "media", "has no sound; leave the item out or use it as a video"
    elif item.transition is not None:
        yield "transition", "is for clips and pictures; a sound has fadeIn and fadeOut"
    if source.is_still:
        if item.start:
            yield "start", "is for videos and sounds; a picture has no time line"
        if (item.duration or 0) > MAX_IMAGE_SECONDS:
            yield "duration", f"of a picture is 0.1 to {MAX_IMAGE_SECONDS:g} s"
        return
    yield from _time_faults(source)


def _clip_faults(item: MergeItem) -> Iterator[tuple[str, str]]:
    if item.offset:
        yield "offset", "is for sounds; clips and pictures follow each other"
    for name, is_set in (("loop", item.loop), ("duck", item.duck)):
        if is_set:
            yield name, "is for sounds; for clips, use fit on the merge"


def _time_faults(source: Source) -> Iterator[tuple[str, str]]:
    item = source.item
    if source.seconds <= 0:
        yield "media", "contains nothing: its length is 0 s"
    elif item.start >= source.seconds:
        yield "start", f"is at or after the end of the file, which lasts {source.seconds:.2f} s"
    elif -item.offset >= source.left and not item.loop:
        yield "offset", f"skips the whole sound, which lasts {source.left:.2f} s"
