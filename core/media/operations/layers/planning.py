"""What layers will make, and what is wrong with them, before a file exists."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from core.domain.media.content import MediaKind
from core.media.operations.film.canvas import Canvas, Size, film_rate, film_size, picture_seconds
from core.media.operations.layers.parameters import LayersParameters
from core.media.operations.layers.timing import Source, Timing, files_of, timing_of
from core.media.operations.port import Expected, Fault, Probe, Seconds

UNKNOWN_SECONDS = Seconds(low=1, expected=30, worst=600)
"""The length of a file of which nothing is known."""
_PLANNED_SIZE = Size(1280, 720)
"""Stands for a size that is not known yet, where only durations are computed."""


def sources_of(
    inputs: Mapping[str, Expected], seconds: Callable[[Seconds], float]
) -> dict[str, Source]:
    """Return the files with one estimate of their lengths."""
    return {
        pointer: Source(
            kind=expected.kind,
            seconds=0.0
            if expected.kind is MediaKind.IMAGE
            else seconds(expected.seconds or UNKNOWN_SECONDS),
        )
        for pointer, expected in inputs.items()
    }


def low(seconds: Seconds) -> float:
    return seconds.low


def usual(seconds: Seconds) -> float:
    return seconds.expected


def worst(seconds: Seconds) -> float:
    return seconds.worst


def measured(probes: Mapping[str, Probe]) -> dict[str, Expected]:
    """Return the measured files in the form of estimates."""
    return {
        pointer: Expected(
            kind=probe.kind,
            seconds=Seconds(low=length, expected=length, worst=length),
            width=probe.width or None,
            height=probe.height or None,
            frame_rate=probe.frame_rate or None,
            has_sound=probe.audio_stream is not None,
        )
        for pointer, probe in probes.items()
        for length in (picture_seconds(probe),)
    }


def in_order(parameters: LayersParameters, inputs: Mapping[str, Expected]) -> list[str]:
    """Return the pointers of the files that are there, from the lowest layer up."""
    return [
        pointer
        for place, item in enumerate(parameters.items)
        for pointer, _ in files_of(place, item)
        if pointer in inputs
    ]


def expectation(parameters: LayersParameters, inputs: Mapping[str, Expected]) -> Expected:
    """Return what the film will be."""
    order = [inputs[pointer] for pointer in in_order(parameters, inputs)]
    rates = [e.frame_rate for e in order if e.kind is MediaKind.VIDEO]
    rate = film_rate(rates[0] if rates else None)
    canvas = Canvas(size=_PLANNED_SIZE, frame_rate=rate)
    timings = [
        timing_of(parameters, sources_of(inputs, estimate), canvas)
        for estimate in (low, usual, worst)
    ]
    lengths = [canvas.seconds(timing.frames) for timing in timings]
    size = _size(parameters, order)
    is_known_rate = parameters.fps or not rates or rates[0]
    return Expected(
        kind=MediaKind.VIDEO,
        seconds=Seconds(low=lengths[0], expected=lengths[1], worst=lengths[2]),
        width=size.width if size else None,
        height=size.height if size else None,
        frame_rate=(parameters.fps or float(rate)) if is_known_rate else None,
        has_sound=_has_sound(timings[1], inputs),
    )


def _size(parameters: LayersParameters, order: Sequence[Expected]) -> Size | None:
    width, height = parameters.width, parameters.height
    if width and height:
        return film_size(Size(1, 1), MediaKind.VIDEO, width=width, height=height)
    first = order[0] if order else None
    if first is None or not (first.width and first.height):
        return None
    return film_size(Size(first.width, first.height), first.kind, width=width, height=height)


def _has_sound(timing: Timing, inputs: Mapping[str, Expected]) -> bool | None:
    audible = [
        inputs[piece.pointer].has_sound
        for piece in timing.pieces
        if not piece.is_still
        and (piece.layer == timing.leader if piece.item.volume is None else piece.item.volume > 0)
    ]
    if any(audible):
        return True
    return None if None in audible else False


def faults_of(parameters: LayersParameters, inputs: Mapping[str, Expected]) -> Sequence[Fault]:
    """Return every fault of the layers with their files."""
    rate = Canvas(size=_PLANNED_SIZE, frame_rate=film_rate(None))
    timing = timing_of(parameters, sources_of(inputs, worst), rate)
    faults = [
        Fault(pointer=f"items/{place}/{name}", message=message)
        for place in range(len(parameters.items))
        for name, message in _item_faults(parameters, place, inputs)
    ]
    if not timing.frames and in_order(parameters, inputs):
        faults.append(
            Fault(
                pointer="duration",
                message="is needed, because no layer has a length of its own: all are pictures",
            )
        )
    seen = {piece.layer for piece in timing.pieces}
    film_seconds = rate.seconds(timing.frames)
    faults += [
        Fault(
            pointer=f"items/{place}/start",
            message=f"is at or after the end of the film, which lasts {film_seconds:.2f} s",
        )
        for place, item in enumerate(parameters.items)
        if timing.frames
        and place not in seen
        and item.start >= film_seconds
        and any(pointer in inputs for pointer, _ in files_of(place, item))
    ]
    return faults


def _item_faults(
    parameters: LayersParameters, place: int, inputs: Mapping[str, Expected]
) -> Iterator[tuple[str, str]]:
    item = parameters.items[place]
    for pointer, part in files_of(place, item):
        expected = inputs.get(pointer)
        if expected is None:
            continue
        name = pointer.removeprefix(f"items/{place}/")
        if expected.kind not in (MediaKind.IMAGE, MediaKind.VIDEO):
            yield name, f"is of the kind {expected.kind.value}; layers are images and videos"
        elif expected.kind is MediaKind.IMAGE:
            if part.start:
                start = name.replace("media", "start")
                yield start, "is for videos; a picture has no time line"
            if item.main and item.timeline is None and item.end is None:
                yield "main", "needs a length: use a video, or give this picture an end"
        else:
            length = (expected.seconds or UNKNOWN_SECONDS).worst
            if length <= 0:
                yield name, "contains nothing: its length is 0 s"
            elif part.start >= length:
                start = name.replace("media", "start")
                yield start, f"is at or after the end of the file, which lasts {length:.2f} s"
