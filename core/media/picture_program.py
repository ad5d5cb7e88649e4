"""Check a picture, and convert it where models may misread it: a program of its own.

It decodes what users send. So it runs as a process without environment or keys, with limits of its
own on memory, time and file size, and imports nothing of this service. It reads the picture from
standard input, writes a converted one to standard output, and its verdict to standard error.
Argument: the most pixels.
"""

import io
import json
import resource
import struct
import sys
from typing import BinaryIO, Final, cast

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

MEMORY_BYTES: Final = 1024**3
"""Twice what 50 megapixels need that are decoded, turned and converted."""
CPU_SECONDS: Final = 20
OUTPUT_BYTES: Final = 64 * 1024**2
_ORIENTATION: Final = 0x0112
_TURNED: Final = range(2, 9)
_PNG_DEPTH_AT: Final = 24
_CONTENT_TYPES: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_DAMAGED: Final = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    struct.error,
)
"""What Pillow raises for damaged files."""


class RefusedError(Exception):
    """The picture is not accepted. reason: `animated`, `damaged` or `too_large`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def prepare(source: BinaryIO, target: BinaryIO, *, max_pixels: int) -> dict[str, object]:
    """Decode a picture completely. If it is not plain 8-bit RGB, write a converted one.

    Return content_type, width, height, and whether it was converted. Raises RefusedError.
    """
    try:
        depth = _png_depth(source)
        image = Image.open(source, formats=tuple(_CONTENT_TYPES))
        if image.width * image.height > max_pixels:
            raise RefusedError("too_large")
        # A JPEG with further pictures, for example a depth map, is one picture.
        form = "JPEG" if image.format == "MPO" else image.format or ""
        if form != "JPEG" and getattr(image, "is_animated", False):
            raise RefusedError("animated")
        image.load()
        turned = image.getexif().get(_ORIENTATION) in _TURNED
    except MemoryError:
        raise RefusedError("too_large") from None
    except _DAMAGED:
        raise RefusedError("damaged") from None
    try:
        if turned or depth > 8 or image.mode not in ("RGB", "RGBA"):
            image, form = _convert(image, form), _form_of(image, form)
            _save(image, form, target)
            converted = True
        else:
            converted = False
    except (MemoryError, OSError):  # the limits of memory and of the file's size
        raise RefusedError("too_large") from None
    return {
        "converted": converted,
        "content_type": _CONTENT_TYPES[form],
        "width": image.width,
        "height": image.height,
    }


def _png_depth(source: BinaryIO) -> int:
    """Return the bits of a channel; 8 for other formats."""
    head = source.read(_PNG_DEPTH_AT + 1)
    source.seek(0)
    return head[_PNG_DEPTH_AT] if head.startswith(b"\x89PNG") and len(head) > _PNG_DEPTH_AT else 8


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "PA", "La", "RGBa", "RGBA") or "transparency" in image.info


def _form_of(image: Image.Image, form: str) -> str:
    """Return the format of the converted picture, which has no loss where the original has none."""
    return "PNG" if form == "PNG" or _has_alpha(image) else "JPEG"


def _convert(image: Image.Image, form: str) -> Image.Image:
    """Return the picture upright, in RGB or RGBA with 8 bits."""
    turned = ImageOps.exif_transpose(image)
    profile: bytes | None = image.info.get("icc_profile")
    mode = "RGBA" if _has_alpha(image) else "RGB"
    if turned.mode == "CMYK" and profile:
        try:
            converted = ImageCms.profileToProfile(
                turned,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - its stub lacks a type
                outputMode="RGB",
            )
        except ImageCms.PyCMSError:
            converted = None
        turned = converted or turned.convert("RGB")
        profile = None
    elif turned.mode.startswith("I"):  # gray with 16 bits
        scaled = turned.convert("F").point(lambda value: value / 257)  # pyright: ignore[reportUnknownMemberType] - its stub lacks a type
        turned = scaled.convert("L").convert(mode)
        profile = None
    elif turned.mode != mode:
        turned = turned.convert(mode)
        profile = None
    turned.info = {"icc_profile": profile} if profile else {}
    return turned


def _save(image: Image.Image, form: str, target: BinaryIO) -> None:
    profile = image.info.get("icc_profile")
    if form == "PNG":
        image.save(target, "PNG", compress_level=1, icc_profile=profile)
    else:
        image.save(target, "JPEG", quality=95, subsampling=0, icc_profile=profile)
    target.flush()


def _limit_resources() -> None:
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, OUTPUT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))


def main() -> None:
    """Write the verdict as JSON: the result of `prepare`, or `refused` with the reason."""
    _limit_resources()
    Image.MAX_IMAGE_PIXELS = None  # checked here, with another error
    Image.init()
    try:
        verdict = prepare(
            cast("BinaryIO", sys.stdin.buffer),
            cast("BinaryIO", sys.stdout.buffer),
            max_pixels=int(sys.argv[1]),
        )
    except RefusedError as error:
        verdict = {"refused": error.reason}
    sys.stderr.write(json.dumps(verdict))


if __name__ == "__main__":
    main()
