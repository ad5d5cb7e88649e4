"""Probing files: in a process of its own, with sentences for users where a file is refused."""

import asyncio
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from core.domain.media.content import MediaKind
from core.media.engine.errors import EngineError
from core.media.engine.formats import HEAD_BYTES, Format, format_of, is_still
from core.media.operations.port import OperationError, Probe
from core.media.programs import run_program
from core.platform.settings.media import MediaSettings

PROGRAM: Final = Path(__file__).with_name("probe_program.py")
PROBE_SECONDS: Final = 60.0
"""Many children may share the processors. The program's own limit is 10 s of processor time."""
MAX_SIDE: Final = 4096
"""Of a video: encoders of H.264 and players refuse more."""
MAX_FRAME_RATE: Final = 120
MAX_CHANNELS: Final = 8
MAX_SAMPLE_RATE: Final = 384_000
MEBIBYTE: Final = 1024**2


async def probe_file(
    path: Path, settings: MediaSettings, *, kind: MediaKind | None, is_own: bool
) -> Probe:
    """Return what a file contains.

    kind: what the file must be; None: any. is_own: an operation has written the file, so only its
    format is checked, not the limits of inputs. Raises OperationError for a file that cannot be
    used, EngineError where another try may succeed.
    """
    if not is_own:
        _check_size(path, settings.media_max_bytes)
    form = _format(path, kind, is_own=is_own)
    max_pixels = (
        settings.media_max_image_pixels
        if form.kind is MediaKind.IMAGE
        else settings.media_max_pixels
    )
    facts = await _facts(path, form, max_pixels)
    _refuse(facts, max_pixels)
    if facts.get("animated") and not is_own:
        raise OperationError("The picture is animated. Use a still picture or a video.")
    probe = probe_of(form, facts)
    if kind is MediaKind.VIDEO and probe.kind is not MediaKind.VIDEO:
        raise OperationError("The file has sound but no picture. Use a video.")
    if not is_own:
        _check_limits(probe, settings, max_pixels)
    return probe


def _check_size(path: Path, max_bytes: int) -> None:
    size = path.stat().st_size
    if size > max_bytes:
        raise OperationError(
            f"The file has {size // MEBIBYTE} MiB; the limit is {max_bytes // MEBIBYTE} MiB. "
            "Use a smaller one."
        )


def _format(path: Path, kind: MediaKind | None, *, is_own: bool) -> Format:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise OperationError("The file is empty.")
    form = format_of(head, is_own=is_own)
    if form is None:
        raise OperationError(
            "The file is of no supported format. Use MP4, QuickTime or WebM, JPEG, PNG or WebP, "
            "MP3, WAV, Ogg, FLAC or M4A."
        )
    if kind is not None and form.kind is not kind:
        raise OperationError(f"The file is {form.content_type}, not {_with_article(kind)}.")
    return form


def _with_article(kind: MediaKind) -> str:
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


@contextmanager
def _source_and_target(path: Path) -> Generator[tuple[IO[bytes], IO[bytes]]]:
    with path.open("rb") as source, Path(os.devnull).open("wb") as target:
        yield source, target


async def _facts(path: Path, form: Format, max_pixels: int) -> Mapping[str, object]:
    """Return the program's verdict.

    Its limits are a verdict on the file. A program that was killed or starved proves nothing.
    """
    with _source_and_target(path) as (source, target):
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                ended = await run_program(
                    PROGRAM, form.demuxer, str(max_pixels), source=source, target=target
                )
        except TimeoutError:
            raise EngineError(f"A file was not read within {PROBE_SECONDS:.0f} s.") from None
    if ended.was_killed:
        raise EngineError("The program that reads files was killed.")
    if ended.verdict is None:
        raise OperationError("The file needs too much memory or time to read. It may be damaged.")
    return ended.verdict


def _refuse(facts: Mapping[str, object], max_pixels: int) -> None:
    match facts.get("refused"):
        case None:
            return
        case "pixels":
            raise OperationError(
                f"The picture has {facts['width']} x {facts['height']} pixels; the limit is "
                f"{max_pixels} pixels in all. Use a smaller one."
            )
        case "codec":
            raise OperationError(
                f"The codec of the file's {facts['stream']} stream is not supported. Use H.264 "
                "with AAC, for example."
            )
        case _:
            raise OperationError("The file cannot be decoded. It may be damaged.")


def probe_of(form: Format, facts: Mapping[str, object]) -> Probe:
    """Return the facts of the program in the form that operations read."""

    def number(name: str) -> float:
        return cast("float", facts.get(name, 0.0))

    def text(name: str) -> str:
        return cast("str", facts.get(name, ""))

    aspect = number("sample_aspect_ratio") or 1.0
    stored = (round(number("stored_width") * aspect), int(number("stored_height")))
    rotation = int(number("rotation"))
    width, height = stored if rotation % 180 == 0 else (stored[1], stored[0])
    still = is_still(form.demuxer)
    kind = form.kind
    if kind in (None, MediaKind.VIDEO):
        kind = MediaKind.VIDEO if "video_stream" in facts else MediaKind.AUDIO
    return Probe(
        kind=kind,
        format_name=form.demuxer,
        seconds=0.0 if still else number("seconds"),
        width=width,
        height=height,
        rotation=rotation,
        sample_aspect_ratio=aspect,
        frame_rate=0.0 if still else number("frame_rate"),
        frames=int(number("frames")),
        picture_seconds=0.0 if still else number("picture_seconds"),
        video_codec=text("video_codec"),
        pixel_format=text("pixel_format"),
        color_transfer=text("color_transfer"),
        color_range=text("color_range"),
        has_alpha=facts.get("has_alpha") is True,
        video_stream=cast("int | None", facts.get("video_stream")),
        audio_stream=cast("int | None", facts.get("audio_stream")),
        audio_codec=text("audio_codec"),
        sample_rate=int(number("sample_rate")),
        channels=int(number("channels")),
        sound_seconds=number("sound_seconds"),
        sound_start_seconds=number("sound_start_seconds"),
    )


def _check_limits(probe: Probe, settings: MediaSettings, max_pixels: int) -> None:
    """Raise OperationError that states what is wrong and what is allowed."""
    seconds = settings.media_max_input_seconds
    is_video = probe.kind is MediaKind.VIDEO
    if probe.kind is not MediaKind.IMAGE and probe.seconds <= 0:
        raise OperationError("The file has a length of zero.")
    if probe.seconds > seconds:
        raise OperationError(
            f"The file has {probe.seconds:.1f} s; the limit is {seconds} s. Use a shorter one."
        )
    if probe.width * probe.height > max_pixels or (
        is_video and max(probe.width, probe.height) > MAX_SIDE
    ):
        side = f" and {MAX_SIDE} on each side" if is_video else ""
        raise OperationError(
            f"The picture has {probe.width} x {probe.height} pixels as shown; the limit is "
            f"{max_pixels} in all{side}. Use a smaller one."
        )
    if is_video and probe.frame_rate > MAX_FRAME_RATE:
        raise OperationError(
            f"The video has {probe.frame_rate:.0f} frames a second; the limit is {MAX_FRAME_RATE}."
        )
    if probe.channels > MAX_CHANNELS:
        raise OperationError(
            f"The sound has {probe.channels} channels; the limit is {MAX_CHANNELS}."
        )
    if probe.sample_rate > MAX_SAMPLE_RATE:
        raise OperationError(
            f"The sound has {probe.sample_rate} samples a second; the limit is {MAX_SAMPLE_RATE}."
        )
