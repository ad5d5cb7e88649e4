"""Builders of media steps, which are free of charge. None: the default of the service."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from typing_extensions import TypedDict, Unpack

from takeone._plans.nodes import File, Item, Node, OnFailure, Output
from takeone._plans.steps import step
from takeone.models.assets import Asset
from takeone.models.executions import ResultFile

Settings = Mapping[str, object]
REFERENCES = frozenset(("step", "asset", "url"))


class StepOptions(TypedDict, total=False):
    """What every step takes."""

    name: str | None
    needs: Sequence[Node]
    on_failure: OnFailure
    deadline_seconds: int | None


def merge(
    *items: Item | Sequence[Item],
    transition: Settings | str | None = None,
    fit: str | None = None,
    resize: str | None = None,
    image_motion: str | None = None,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    fade_in: float | None = None,
    fade_out: float | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Join clips and pictures, with transitions, and mix sounds under them.

    items: files, or mappings such as `{"media": voice, "offset": 0.5}`.
    """
    params = {
        "items": _items(items),
        "transition": {"type": transition} if isinstance(transition, str) else transition,
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
    duration: float | None = None,
    width: int | None = None,
    height: int | None = None,
    fps: float | None = None,
    background: str | None = None,
    fade_in: float | None = None,
    fade_out: float | None = None,
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
    style: Settings | str | None = None,
    burn: bool | None = None,
    sidecar: Sequence[str] | None = None,
    shift: float | None = None,
    language: str | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Show words while they are spoken. The outputs `srt` and `vtt` are text files.

    words: a transcript, speech with word times, or a list. style: settings, or a preset's name.
    """
    speech = isinstance(words, Node) and words.kind == "audio"
    params = {
        "video": video,
        "words": cast("Node", words).output("words") if speech else words,
        "style": {"preset": style} if isinstance(style, str) else style,
        "burn": burn,
        "sidecar": sidecar,
        "shift": shift,
        "language": language,
    }
    return step("captions", params, **options)


def reframe(
    source: File,
    *,
    aspect_ratio: str,
    mode: str | None = None,
    focus: Settings | Sequence[Settings] | None = None,
    width: int | str | None = None,
    color: str | None = None,
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
    at: float | str | None = None,
    width: int | None = None,
    format: str | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Take a frame of a video. at: in seconds, or `best`."""
    params = {"source": source, "at": at, "width": width, "format": format}
    return step("poster", params, **options)


def preview(
    source: File,
    *,
    start: float | None = None,
    duration: float | None = None,
    width: int | None = None,
    fps: int | None = None,
    format: str | None = None,
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
    target: float | None = None,
    true_peak: float | None = None,
    mode: str | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Change the level of a sound to a loudness in LUFS."""
    params = {"source": source, "target": target, "true_peak": true_peak, "mode": mode}
    return step("loudness", params, **options)


def trim(
    source: File,
    *,
    start: float | None = None,
    end: float | None = None,
    duration: float | None = None,
    copy: bool | None = None,
    **options: Unpack[StepOptions],
) -> Node:
    """Cut a part out of a video or sound."""
    params = {"source": source, "start": start, "end": end, "duration": duration, "copy": copy}
    return step("trim", params, **options)


def extract_audio(
    source: File,
    *,
    format: str | None = None,
    mono: bool | None = None,
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
        elif isinstance(item, str | Asset | ResultFile | Node | Output):
            made.append({"media": item})
        else:
            made += _items(item)
    return made
