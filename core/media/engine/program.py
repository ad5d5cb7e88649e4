"""The ffmpeg program: finding it, its identity, and what it must be able to do."""

import asyncio
import hashlib
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from core.platform.settings.base import SettingError

PACKAGE: Final = "imageio_ffmpeg"
_FILTERS: Final = """
    acrossfade adelay aevalsrc afade aformat alimiter aloop amix anull anullsrc apad aresample
    asetpts asplit ass astats atempo atrim blackframe boxblur chromakey color colorchannelmixer
    concat crop despill ebur128 fade format fps hstack loop loudnorm lutyuv metadata null
    overlay pad palettegen paletteuse pan premultiply scale setparams setpts setsar settb
    sidechaincompress split thumbnail tonemap tpad transpose trim volume volumedetect xfade
    zoompan zscale
"""
_ENCODERS: Final = """
    aac gif libmp3lame libwebp libwebp_anim libx264 mjpeg pcm_s16le png wrapped_avframe
"""
_DECODERS: Final = """
    aac flac gif h264 hevc libvpx libvpx-vp9 mjpeg mp3float opus pcm_s16le png prores vorbis vp8 vp9
    webp
"""
NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "filters": frozenset(_FILTERS.split()),
    "encoders": frozenset(_ENCODERS.split()),
    "decoders": frozenset(_DECODERS.split()),
}
"""By the option that lists them: what operations and their inputs need."""
_LISTED: Final = re.compile(r"^ [A-Z.|]{2,6} +(\S+)", re.MULTILINE)
_VERSION: Final = re.compile(r"^ffmpeg version (\S+)")
_FIRST_WITH_FILE_OPTIONS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that passed the checks. sha256: of the file, hexadecimal."""

    path: Path
    version: str
    sha256: str

    @property
    def graph_option(self) -> str:
        """Return the option that reads a filter graph from a file.

        Version 7 replaced the old name, which later versions refuse.
        """
        major = re.match(r"n?(\d+)\.", self.version)
        old = major is not None and int(major[1]) < _FIRST_WITH_FILE_OPTIONS
        return "-filter_complex_script" if old else "-/filter_complex"


async def find_program(path: Path | None) -> Program:
    """Return the checked program of FFMPEG_PATH, or of the package. Raises SettingError."""
    program = _executable(path) if path else _packaged()
    version, sha256, *lists = await asyncio.gather(
        _output(program, "-version"),
        asyncio.to_thread(_sha256, program),
        *(_output(program, f"-{what}") for what in NEEDED),
    )
    match = _VERSION.match(version)
    if match is None:
        raise SettingError(f"FFMPEG_PATH: {program} is not the ffmpeg program")
    missing = [
        f"the {what.removesuffix('s')} {name}"
        for what, listed in zip(NEEDED, lists, strict=True)
        for name in sorted(NEEDED[what] - set(_listed_names(listed)))
    ]
    if missing:
        raise SettingError(
            f"FFMPEG_PATH: {program} (version {match[1]}) lacks {', '.join(missing)}; install a "
            "complete build, or unset FFMPEG_PATH to use the package imageio-ffmpeg"
        )
    return Program(path=program, version=match[1], sha256=sha256)


def _executable(path: Path) -> Path:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise SettingError(f"FFMPEG_PATH: {path} is not an executable file")
    return path.absolute()


def _packaged() -> Path:
    """Return the program in the package, without the search of `get_ffmpeg_exe` elsewhere."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in sorted(Path(folder, "binaries").glob("ffmpeg-*")):
            return program
    raise SettingError(
        "FFMPEG_PATH: not set, and the package imageio-ffmpeg has no program for this machine"
    )


async def _output(program: Path, option: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program,
        "-hide_banner",
        option,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={},
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(errors="replace")


def _listed_names(listed: str) -> Iterable[str]:
    return _LISTED.findall(listed)


def _sha256(program: Path) -> str:
    state = program.stat()
    return _sha256_of(program, state.st_size, state.st_mtime_ns)


@cache
def _sha256_of(program: Path, _size: int, _modified_ns: int) -> str:
    with program.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
