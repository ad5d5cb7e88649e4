"""Still pictures as outputs: formats, colours and encoder options."""

from enum import StrEnum
from typing import Final

from core.media.operations.film.encoding import PICTURE, REPRODUCIBLE

STILL_SECONDS: Final = 1.0
"""For the limits of a command that makes one picture."""


class StillFormat(StrEnum):
    """The format of a still picture; its value is the file name extension."""

    JPG = "jpg"
    PNG = "png"
    WEBP = "webp"


_FROM_FILM: Final = "flags=bicubic+accurate_rnd+full_chroma_int:in_color_matrix=bt709:in_range=tv"
_OPTIONS: Final = {
    StillFormat.JPG: ("-c:v", "mjpeg", "-q:v", "2", "-f", "image2"),
    StillFormat.PNG: ("-c:v", "png", "-f", "image2"),
    StillFormat.WEBP: ("-c:v", "libwebp", "-quality", "88", "-f", "webp"),
}


def still_chain(form: StillFormat, *, keep_alpha: bool = False) -> str:
    """Return a chain from a film's colours to those of a picture: sRGB, or what JPEG stores."""
    if form is StillFormat.JPG:
        return f"scale={_FROM_FILM}:out_color_matrix=bt601:out_range=pc,format=yuvj420p"
    return f"scale={_FROM_FILM}:out_range=pc,format={'rgba' if keep_alpha else 'rgb24'}"


def still_options(form: StillFormat) -> tuple[str, ...]:
    """Return all options of a picture whose graph ends at PICTURE."""
    container = ("-update", "1") if form is not StillFormat.WEBP else ()
    return ("-map", PICTURE, "-frames:v", "1", *REPRODUCIBLE, *_OPTIONS[form], *container)
