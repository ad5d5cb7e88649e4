# Pillow's resize is typed only in part.
# pyright: reportUnknownMemberType=false
"""Changed files: cutouts, lip-synced videos and upscaling. All functions block: run in a thread."""

import io
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from PIL import Image, ImageDraw

from sandbox.files import encoding, renderer
from sandbox.models.orders import Order

SMALL_SIDE = 320
"""With tiny media, only larger videos are rendered smaller."""


@lru_cache(maxsize=16)
def subject(width: int, height: int) -> Image.Image:
    """Return the mask of the subject that a cutout keeps: an ellipse in the middle."""
    mask = Image.new("L", (width, height))
    box = (width * 0.2, height * 0.1, width * 0.8, height * 0.9)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def _cut(image: Image.Image, background: str) -> Image.Image:
    mask = subject(*image.size)
    if background == "transparent":
        cut = image.convert("RGBA")
        cut.putalpha(mask)
        return cut
    return Image.composite(image.convert("RGB"), Image.new("RGB", image.size, background), mask)


def picture_cutout(source: bytes) -> bytes:
    """Return a picture as a PNG whose background is transparent."""
    return _encoded(_cut(renderer.decoded(source), "transparent"), "png")


def upscaled_picture(source: bytes, order: Order) -> bytes:
    image = renderer.decoded(source)
    mode = "RGBA" if image.mode in {"RGBA", "LA", "P"} and order.file_format == "png" else "RGB"
    larger = image.convert(mode).resize((order.width, order.height), Image.Resampling.BILINEAR)
    return _encoded(larger, order.file_format)


def _encoded(image: Image.Image, file_format: str) -> bytes:
    written = io.BytesIO()
    image.save(written, renderer.PIL_FORMATS[file_format], compress_level=1)
    return written.getvalue()


@lru_cache(maxsize=16)
def changed_video(source: bytes, order: Order, *, tiny: bool) -> bytes:
    """Return every frame of a video at the order's size, with its background cut out if asked."""
    width, height = _size(order, tiny=tiny)
    rate = encoding.rate_of(source)

    def frames() -> Iterator[Image.Image]:
        for _, image in encoding.frames_of(source):
            frame = image.resize((width, height), Image.Resampling.BILINEAR)
            yield _cut(frame, order.background) if order.kind == "cutout" else frame

    if order.file_format == "webm":
        return encoding.webm(frames(), width, height, rate=rate)
    return encoding.mp4(frames(), width, height, rate=rate)


@lru_cache(maxsize=16)
def lip_synced(video: bytes, audio: bytes, order: Order, *, tiny: bool) -> bytes:
    """Return a video of the order's length with the sound of the audio file."""
    width, height = _size(order, tiny=tiny)
    samples = spoken(audio, order.seconds)
    frames = _played(video, width, height, order.seconds)
    return encoding.mp4(frames, width, height, samples=samples)


def spoken(audio: bytes, seconds: float) -> bytes:
    """Return the samples of an audio file, cut to a length."""
    return encoding.samples_of(audio)[: 2 * round(seconds * encoding.SAMPLE_RATE)]


def _played(video: bytes, width: int, height: int, seconds: float) -> Iterator[Image.Image]:
    """Yield frames at the usual rate; the video repeats until the time is over."""
    count = max(1, round(seconds * encoding.FRAMES_PER_SECOND))
    number = 0
    while number < count:
        begun = number
        for time, image in encoding.frames_of(video):
            frame = image.resize((width, height), Image.Resampling.BILINEAR)
            length = 1 / encoding.rate_of(video)
            due = begun + round((Fraction(time) + length) * encoding.FRAMES_PER_SECOND)
            while number < min(due, count):
                yield frame
                number += 1
            if number >= count:
                return
        if number == begun:  # a video that is shorter than a frame
            return


def _size(order: Order, *, tiny: bool) -> tuple[int, int]:
    """Return the even sides of a rendered video."""
    width, height = order.width, order.height
    if tiny and max(width, height) > SMALL_SIDE:
        width, height = renderer.tiny(width, height)
    return max(2, width // 2 * 2), max(2, height // 2 * 2)
