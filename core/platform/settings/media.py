"""Settings of the media engine: its program, its share of the machine, and its limits."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from core.platform.settings.base import Settings, Slots

MIB: Final = 1024**2
GIB: Final = 1024**3


class MediaSettings(Settings):
    """The media engine: its program, its share of the machine, and the limits of its files."""

    ffmpeg_path: Path | None = Field(
        default=None,
        description="file of the ffmpeg program; default: that of the package imageio-ffmpeg",
    )
    media_threads: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2,
        description="threads of each encoder; after a change, finished media steps are not used again",
    )
    media_slots: Slots | None = Field(
        default=None,
        description="concurrent media steps of one worker; default: processors divided by MEDIA_THREADS",
    )
    media_posters: bool = Field(
        default=True, description="whether every finished video gets a poster"
    )
    media_memory_bytes: Annotated[int, Field(ge=512 * MIB)] = Field(
        default=2 * GIB, description="memory limit of one media step"
    )
    media_max_bytes: Annotated[int, Field(ge=MIB)] = Field(
        default=2 * GIB, description="size limit of an input file of a media step"
    )
    media_max_pixels: Annotated[int, Field(ge=1)] = Field(
        default=4096 * 4096, description="pixel limit of a video in a media step"
    )
    media_max_image_pixels: Annotated[int, Field(ge=1)] = Field(
        default=40_000_000, description="pixel limit of an image in a media step"
    )
    media_max_input_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=600, description="length limit of an input file of a media step"
    )
    media_max_output_seconds: Annotated[int, Field(ge=1, le=86_400)] = Field(
        default=900, description="length limit of a file that a media step makes"
    )
    media_scratch_folder: Path | None = Field(
        default=None,
        description="folder of the files of running media steps; what an ended worker left in it is deleted; "
        "default: takeone-media in the system's folder of temporary files",
    )
    media_scratch_bytes: Annotated[int, Field(ge=64 * MIB)] = Field(
        default=20 * GIB,
        description="limit of all files of one worker's running media steps; a step that does not fit waits",
    )
