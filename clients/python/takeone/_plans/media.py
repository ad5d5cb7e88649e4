"""Builders of media steps, which are free of charge. None: the default of the service."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from typing_extensions import TypedDict, Unpack

from takeone._plans.nodes import File, Item, Node, OnFailure, Output
from takeone._plans.steps import step
from takeone._plans.variables import Fill, Flag, Number, Text, Variable, Whole
from takeone.models.assets import Asset
from takeone.models.executions import ResultFile

Settings = Mapping[str, object]
REFERENCES = frozenset(("step", "asset", "url", "var"))
TEXTS = (str, Variable, Fill)


class StepOptions(TypedDict, total=False):
    """What every step takes."""

    name: str | None
    needs: Sequence[Node]
    on_failure: OnFailure
    deadline_seconds: int | None


def merge(
    *items: Item | Sequence[Item],
    transition: Settings | Text | None = None,
    fit: Text | None = None,
    resize: Text | None = None,
    image_motion: Text | None = None,
    width: Whole | None = None,
    height: Whole | None = None,
    fps: Number | None = None,
    fade_in: Number | None = None,
    fade_out: Number | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Join clips and pictures, with transitions, and mix sounds under them.

    items: files, or mappings such as `{"media": voice, "offset": 0.5}`.
    """
    params = {
        "items": _items(items),
        "transition": {"type": transition} if isinstance(transition, TEXTS) else transition,
        "fit": fit,
        "resize": resize,
        "image_motion": image_motion,
        "width": width,
        "height": height,
        "fps": fps,
        "fade_in": fade_in,
        "fade_out": fade_out,
    }
    return step("merge", params, **options)


def layers(
    *items: Item | Sequence[Item],
    duration: Number | None = None,
    width: Whole | None = None,
    height: Whole | None = None,
    fps: Number | None = None,
    background: Text | None = None,
    fade_in: Number | None = None,
    fade_out: Number | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Draw layers from the lowest to the highest on one canvas.

    items: files, or mappings such as `{"media": host, "placement": "w-1/4 bottom-right"}`.
    """
    params = {
        "items": _items(items),
        "duration": duration,
        "width": width,
        "height": height,
        "fps": fps,
        "background": background,
        "fade_in": fade_in,
        "fade_out": fade_out,
    }
    return step("layers", params, **options)


def captions(
    video: File,
    words: File | Sequence[Mapping[str, object]],
    *,
    style: Settings | Text | None = None,
    burn: Flag | None = None,
    sidecar: Sequence[str] | None = None,
    shift: Number | None = None,
    language: Text | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Show words while they are spoken. The outputs `srt` and `vtt` are text files.

    words: a transcript, speech with word times, or a list. style: settings, or a preset's name.
    """
    speech = isinstance(words, Node) and words.kind == "audio"
    params = {
        "video": video,
        "words": cast("Node", words).output("words") if speech else words,
        "style": {"preset": style} if isinstance(style, TEXTS) else style,
        "burn": burn,
        "sidecar": sidecar,
        "shift": shift,
        "language": language,
    }
    return step("captions", params, **options)


def reframe(
    source: File,
    *,
    aspect_ratio: Text,
    mode: Text | None = None,
    focus: Settings | Sequence[Settings] | None = None,
    width: Whole | str | None = None,
    color: Text | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Change the shape of a film or a picture."""
    params = {
        "source": source,
        "aspect_ratio": aspect_ratio,
        "mode": mode,
        "focus": focus,
        "width": width,
        "color": color,
    }
    return step("reframe", params, **options)


def poster(
    source: File,
    *,
    at: Number | str | None = None,
    width: Whole | None = None,
    format: Text | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Take a frame of a video. at: in seconds, or `best`."""
    params = {"source": source, "at": at, "width": width, "format": format}
    return step("poster", params, **options)


def preview(
    source: File,
    *,
    start: Number | None = None,
    duration: Number | None = None,
    width: Whole | None = None,
    fps: Whole | None = None,
    format: Text | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Make a short, small preview of a video."""
    params = {
        "source": source,
        "start": start,
        "duration": duration,
        "width": width,
        "fps": fps,
        "format": format,
    }
    return step("preview", params, **options)


def loudness(
    source: File,
    *,
    target: Number | None = None,
    true_peak: Number | None = None,
    mode: Text | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Change the level of a sound to a loudness in LUFS."""
    params = {"source": source, "target": target, "true_peak": true_peak, "mode": mode}
    return step("loudness", params, **options)


def trim(
    source: File,
    *,
    start: Number | None = None,
    end: Number | None = None,
    duration: Number | None = None,
    copy: Flag | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Cut a part out of a video or sound."""
    params = {"source": source, "start": start, "end": end, "duration": duration, "copy": copy}
    return step("trim", params, **options)


def extract_audio(
    source: File,
    *,
    format: Text | None = None,
    mono: Flag | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Take the sound out of a video."""
    return step("extract-audio", {"source": source, "format": format, "mono": mono}, **options)


def _items(items: Iterable[Item | Sequence[Item]]) -> list[Mapping[str, object]]:
    """Return items as mappings. One list of items is the same as its items."""
    made: list[Mapping[str, object]] = []
    for item in items:
        if isinstance(item, Mapping):
            plain = cast("Mapping[str, Any]", item)
            made.append({"media": plain} if REFERENCES & plain.keys() else plain)
        elif isinstance(item, str | Asset | ResultFile | Node | Output | Variable):
            made.append({"media": item})
        else:
            made += _items(item)
    return made
