"""Production of the output of an order. All functions block: run in a thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sandbox.files import encoding, renderer, speech, transforms
from sandbox.files.speech import Word
from sandbox.models.fields import Role
from sandbox.models.orders import Order
from sandbox.settings import Json

CONTENT_TYPES = {
    "jpeg": "image/jpeg", "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "mp4": "video/mp4",
    "webm": "video/webm", "mp3": "audio/mpeg", "wav": "audio/wav",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Produced:
    """The output of an order, with the lengths and sizes that followed from its files.

    data: neutral values besides the files, such as the words of a transcript.
    """

    order: Order
    files: Sequence[bytes] = ()
    extension: str = ""
    data: Json | None = None


def produce(
    order: Order, sources: Mapping[Role, bytes], *, tiny: bool, black: bool = False
) -> Produced:
    """Return the output of a fitted order. Raise UnreadableError."""
    match order.kind:
        case "image":
            files = _pictures(order, tiny=tiny, black=black)
            return Produced(order=order, files=files, extension=order.file_format)
        case "video":
            return Produced(order=order, files=[_video(order, sources, tiny=tiny)], extension="mp4")
        case "audio":
            return _spoken(order)
        case "transcript":
            return _transcript(order, sources["audio"])
        case "cutout" | "upscale" | "lip-sync" | "talking-head":
            return _changed(order, sources, tiny=tiny)


def _pictures(order: Order, *, tiny: bool, black: bool) -> list[bytes]:
    if tiny and not black:
        return [renderer.tiny_picture(order.width, order.height, order.file_format)] * order.count
    return [
        renderer.picture(
            prompt=order.prompt, width=order.width, height=order.height, seed=(order.seed or 0) + number,
            image_format=order.file_format, black=black,
        )
        for number in range(order.count)
    ]  # fmt: skip


def _video(order: Order, sources: Mapping[Role, bytes], *, tiny: bool) -> bytes:
    if tiny:
        return renderer.tiny_video(order.width, order.height, order.seconds, sound=order.sound)
    return renderer.video(
        source=sources.get("image"), prompt=order.prompt, width=order.width, height=order.height,
        seconds=order.seconds, seed=order.seed or 0, end=sources.get("end_image"),
        samples=speech.tone(order.seconds) if order.sound else None,
    )  # fmt: skip


def _spoken(order: Order) -> Produced:
    spoken = speech.speak(order.prompt, order.speed)
    data: Json = {"words": _words(spoken.words)}
    if order.timestamps:
        data["alignment"] = speech.alignment(spoken.words, order.prompt)
    return Produced(
        order=replace(order, seconds=spoken.seconds), extension=order.file_format,
        files=[encoding.sound(spoken.samples, order.file_format)], data=data,
    )  # fmt: skip


def _transcript(order: Order, audio: bytes) -> Produced:
    words = speech.transcribe(encoding.samples_of(audio))
    return Produced(order=order, data={"words": _words(words)})


def _words(words: Sequence[Word]) -> list[Json]:
    return [{"text": word.text, "start": word.start, "end": word.end} for word in words]


def _changed(order: Order, sources: Mapping[Role, bytes], *, tiny: bool) -> Produced:
    plain = replace(order, seed=None, prompt="")  # the caches go by the rest
    if order.kind == "talking-head":
        width, height = renderer.tiny(order.width, order.height) if tiny else (order.width, order.height)  # fmt: skip
        file = renderer.video(
            source=sources["image"], prompt="", width=width, height=height, seconds=order.seconds,
            seed=7, samples=transforms.spoken(sources["audio"], order.seconds),
        )  # fmt: skip
    elif order.kind == "lip-sync":
        file = transforms.lip_synced(sources["video"], sources["audio"], plain, tiny=tiny)
    elif order.makes == "video":
        file = transforms.changed_video(sources["video"], plain, tiny=tiny)
    elif order.kind == "cutout":
        file = transforms.picture_cutout(sources["image"])
    else:
        file = transforms.upscaled_picture(sources["image"], plain)
    return Produced(order=order, files=[file], extension=order.file_format)
