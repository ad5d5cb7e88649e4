"""Output options of ffmpeg: how films and sound are encoded.

A filter graph ends at the labels PICTURE and SOUND. The same input gives identical bytes: nothing
in the output depends on the program's version string, the time or the source's metadata.
"""

import hashlib
from fractions import Fraction

PICTURE = "[picture]"
SOUND = "[sound]"
SAMPLE_RATE = 48_000
SOUND_BIT_RATE = "160k"
KEY_FRAME_SECONDS = 2

REPRODUCIBLE = (
    "-map_metadata",
    "-1",
    "-map_chapters",
    "-1",
    "-fflags",
    "+bitexact",
    "-flags:v",
    "+bitexact",
    "-flags:a",
    "+bitexact",
)
"""Options of every output."""

_COLORS = (
    "-colorspace",
    "bt709",
    "-color_primaries",
    "bt709",
    "-color_trc",
    "bt709",
    "-color_range",
    "tv",
)


def picture_options(*, is_final: bool, frame_rate: Fraction) -> tuple[str, ...]:
    """Return the codec options of a film's picture.

    An intermediate file has more bits, so that the second encoding costs little quality.
    """
    return (
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "20" if is_final else "16",
        "-pix_fmt",
        "yuv420p",
        "-g",
        str(max(1, round(KEY_FRAME_SECONDS * frame_rate))),
        "-fps_mode",
        "passthrough",
        *_COLORS,
    )


def sound_options() -> tuple[str, ...]:
    """Return the codec options of sound, in a film or alone.

    At this bit rate, the fast search takes half of the time and is no worse.
    """
    coder = ("-c:a", "aac", "-aac_coder", "fast")
    return (*coder, "-b:a", SOUND_BIT_RATE, "-ar", str(SAMPLE_RATE), "-ac", "2")


def film_options(*, is_final: bool, frame_rate: Fraction, has_sound: bool) -> tuple[str, ...]:
    """Return all options of an MP4 film whose graph ends at PICTURE and, with sound, at SOUND."""
    sound = ("-map", SOUND, *sound_options()) if has_sound else ("-an",)
    return (
        "-map",
        PICTURE,
        *picture_options(is_final=is_final, frame_rate=frame_rate),
        *sound,
        *REPRODUCIBLE,
        *mp4_options(),
    )


def copied_film_options(*, picture_input: int, has_sound: bool) -> tuple[str, ...]:
    """Return all options of an MP4 film whose picture is copied from an input without encoding."""
    sound = ("-map", SOUND, *sound_options()) if has_sound else ()
    picture = ("-map", f"{picture_input}:v:0", "-c:v", "copy")
    return (*picture, *sound, *REPRODUCIBLE, *mp4_options())


def sound_file_options() -> tuple[str, ...]:
    """Return all options of an M4A file whose graph ends at SOUND."""
    return (
        "-map",
        SOUND,
        "-vn",
        *sound_options(),
        *REPRODUCIBLE,
        *mp4_options(sound_only=True),
    )


def repeatable_options(*, frame_rate: Fraction, has_sound: bool) -> tuple[str, ...]:
    """Return all options of a film that a later command reads repeatedly.

    Its sound is not compressed, so that it is as long as the picture, to the sample.
    """
    sound = ("-map", SOUND, "-c:a", "pcm_s16le") if has_sound else ("-an",)
    picture = picture_options(is_final=False, frame_rate=frame_rate)
    return ("-map", PICTURE, *picture, *sound, *REPRODUCIBLE, "-f", "mov")


def encoding_key() -> str:
    """Return a hash of how films and sounds are encoded: part of content keys."""
    rate = Fraction(30)
    used = (
        *(film_options(is_final=final, frame_rate=rate, has_sound=True) for final in (True, False)),
        copied_film_options(picture_input=0, has_sound=True),
        repeatable_options(frame_rate=rate, has_sound=True),
        sound_file_options(),
    )
    return hashlib.sha256(repr(used).encode()).hexdigest()


def mp4_options(*, sound_only: bool = False) -> tuple[str, ...]:
    """Return the container's options. The index is at the start, so a player starts at once."""
    return ("-movflags", "+faststart", "-f", "ipod" if sound_only else "mp4")
