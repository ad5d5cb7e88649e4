# Pillow's resize and PyAV's packets are typed only in part.
# pyright: reportUnknownMemberType=false
"""Rendering of pictures and videos with Pillow. All functions block: run in a thread."""

import io
import random
import textwrap
from collections.abc import Iterator
from functools import lru_cache

import av
from PIL import Image, ImageDraw, ImageFilter, ImageFont, UnidentifiedImageError

from sandbox.files import encoding
from sandbox.files.encoding import FRAMES_PER_SECOND, UnreadableError
from sandbox.files.speech import tone

TINY_WIDTH = 64
PIL_FORMATS = {"jpeg": "JPEG", "jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
CONTENT_TYPES = {
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
}
Image.MAX_IMAGE_PIXELS = 64_000_000  # Pillow warns above this size and raises above twice this size


def picture_size(data: bytes) -> tuple[int, int]:
    return decoded(data).size


def decoded(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableError(str(error)) from error
    return image


def tiny(width: int, height: int) -> tuple[int, int]:
    """Return the same shape, 64 pixels wide, with even sides as yuv420p requires."""
    return TINY_WIDTH, max(2, round(height * TINY_WIDTH / width / 2) * 2)


def picture(
    *, prompt: str, width: int, height: int, seed: int, image_format: str, black: bool = False
) -> bytes:
    """Return an encoded picture of exactly this size that shows the prompt.

    The same seed gives the same picture.
    """
    image = Image.new("RGB", (width, height)) if black else _draw_scene(prompt, width, height, seed)
    encoded = io.BytesIO()
    image.save(encoded, PIL_FORMATS[image_format], quality=85)
    return encoded.getvalue()


@lru_cache(maxsize=64)
def tiny_picture(width: int, height: int, image_format: str) -> bytes:
    small_width, small_height = tiny(width, height)
    return picture(
        prompt="", width=small_width, height=small_height, seed=7, image_format=image_format
    )


def _draw_scene(prompt: str, width: int, height: int, seed: int) -> Image.Image:
    rng = random.Random(seed)
    image = _sky(rng, width, height)
    draw = ImageDraw.Draw(image, "RGBA")
    size = min(width, height)
    sun_x, sun_y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.12, 0.35) * height
    for radius, alpha in ((0.16, 40), (0.12, 70), (0.08, 255)):
        reach = radius * size
        draw.ellipse(
            (sun_x - reach, sun_y - reach, sun_x + reach, sun_y + reach),
            fill=(255, 240, 205, alpha),
        )
    for layer in range(4):
        _hill(draw, rng, width, height, layer)
    if prompt and size >= 48:
        _words(draw, prompt, width, height)
    return image


def _sky(rng: random.Random, width: int, height: int) -> Image.Image:
    """Draw a gradient between four related colours."""
    hue = rng.randrange(256)
    corners = Image.new("HSV", (2, 2))
    for x in range(2):
        for y in range(2):
            shade = (hue + rng.randrange(-28, 28)) % 256
            corners.putpixel((x, y), (shade, rng.randrange(90, 150), rng.randrange(175, 245)))
    small = corners.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)
    return small.resize((width, height), Image.Resampling.BICUBIC)


def _hill(
    draw: ImageDraw.ImageDraw, rng: random.Random, width: int, height: int, layer: int
) -> None:
    base = height * (0.55 + 0.12 * layer)
    steps = 12
    ridge = [
        (width * step / steps, base + rng.uniform(-0.06, 0.06) * height)
        for step in range(steps + 1)
    ]
    points = [(0.0, float(height)), *ridge, (float(width), float(height))]
    draw.polygon(points, fill=(30 + 12 * layer, 48 + 10 * layer, 80 - 12 * layer, 120 + 25 * layer))


def _words(draw: ImageDraw.ImageDraw, prompt: str, width: int, height: int) -> None:
    """Write the prompt on a dark panel in the lower part, in the largest font that fits."""
    shown = " ".join(prompt.split())[:500] or " "
    for size in range(max(12, height // 14), 9, -2):
        font = ImageFont.load_default(size)
        columns = max(8, int(width * 0.84 / (font.getlength(shown) / len(shown))))
        text = "\n".join(textwrap.wrap(shown, columns))
        left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font, align="center")
        if right - left <= width * 0.9 and bottom - top <= height * 0.6:
            break
    else:
        return
    x, y = (width - (right - left)) / 2, height * 0.93 - (bottom - top)
    pad = height * 0.025
    panel = (x - pad, y - pad, x + right - left + pad, y + bottom - top + pad)
    draw.rounded_rectangle(panel, radius=pad, fill=(10, 14, 24, 165))
    draw.multiline_text(
        (x - left, y - top), text, font=font, fill=(255, 255, 255, 255), align="center"
    )


def video(
    *, source: bytes | None, prompt: str, width: int, height: int, seconds: float, seed: int,
    end: bytes | None = None, samples: bytes | None = None,
) -> bytes:  # fmt: skip
    """Return an MP4 (H.264, yuv420p, index first) of `seconds` at 24 frames per second.

    It pans over `source`, towards `end` if there is an end picture; without a source, a picture is
    drawn. samples: the sound track. Raise UnreadableError.
    """
    still = (
        decoded(source).convert("RGB")
        if source is not None
        else _draw_scene(prompt, width, height, seed)
    )
    frames = _frames(_crop_to_fill(still, width, height), width, height, seconds, seed)
    if end is not None:
        last = _crop_to_fill(decoded(end).convert("RGB"), width, height)
        frames = _towards(last, frames, round(seconds * FRAMES_PER_SECOND))
    return encoding.mp4(frames, width, height, samples=samples)


@lru_cache(maxsize=64)
def tiny_video(width: int, height: int, seconds: float, *, sound: bool = False) -> bytes:
    small_width, small_height = tiny(width, height)
    return video(
        source=None, prompt="", width=small_width, height=small_height, seconds=seconds, seed=7,
        samples=tone(seconds) if sound else None,
    )  # fmt: skip


def _towards(last: Image.Image, frames: Iterator[Image.Image], count: int) -> Iterator[Image.Image]:
    """Yield the frames, fading into the last one."""
    for number, frame in enumerate(frames):
        yield Image.blend(frame, last, number / max(1, count - 1))


def _crop_to_fill(still: Image.Image, width: int, height: int) -> Image.Image:
    """Return the middle of the picture, scaled to the size of the video."""
    scale = max(width / still.width, height / still.height)
    crop_width, crop_height = width / scale, height / scale
    left, top = (still.width - crop_width) / 2, (still.height - crop_height) / 2
    return still.resize(
        (width, height), Image.Resampling.BICUBIC, (left, top, left + crop_width, top + crop_height)
    )


def _frames(
    still: Image.Image, width: int, height: int, seconds: float, seed: int
) -> Iterator[Image.Image]:
    """Yield the frames: a slow zoom to a seeded point while a soft light crosses the picture."""
    rng = random.Random(seed)
    aim_x, aim_y = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
    reach = max(4, min(width, height) // 6)
    glow = Image.new("L", (2 * reach, 2 * reach))
    ImageDraw.Draw(glow).ellipse((reach // 2, reach // 2, reach * 3 // 2, reach * 3 // 2), fill=150)
    glow = glow.filter(ImageFilter.GaussianBlur(reach / 5))
    light = Image.new("RGB", glow.size, (255, 246, 214))
    frames = max(1, round(seconds * FRAMES_PER_SECOND))
    for number in range(frames):
        part = number / max(1, frames - 1)
        zoom = 1.0 + 0.2 * part
        left, top = (width - width / zoom) * aim_x, (height - height / zoom) * aim_y
        box = (left, top, left + width / zoom, top + height / zoom)
        frame = still.resize((width, height), Image.Resampling.BILINEAR, box)
        x = int(-2 * reach + part * (width + 2 * reach))
        frame.paste(light, (x, int(height * (0.1 + 0.25 * part))), glow)
        yield frame


def index_last(content: bytes) -> bytes:
    """Return the same frames in an MP4 with its index at the end, as most encoders write it."""
    written = io.BytesIO()
    with (
        av.open(io.BytesIO(content), "r") as source,
        av.open(written, "w", format="mp4") as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:  # the last packet is empty
                packet.stream = stream
                target.mux(packet)
    return written.getvalue()
