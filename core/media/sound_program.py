# pyright: reportUnknownMemberType=false
# The types of `av` do not cover packets.
"""Extract the sound of a video: a program of its own.

It decodes what users send. So it runs as a process without environment or keys, with limits of its
own on memory, time and file size, and imports nothing of this service. It reads the video from
standard input, which is a file, writes an MP3 to standard output, and its verdict to standard
error. Arguments: the video's format, and the most seconds.
"""

import json
import resource
import sys
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import av
from av.container import InputContainer
from av.error import FFmpegError

MEMORY_BYTES: Final = 1024**3
"""Of addresses, most of them the libraries'; it uses 50 MiB."""
CPU_SECONDS: Final = 16
"""Half an hour of sound takes eleven."""
OUTPUT_BYTES: Final = 64 * 1024**2
SAMPLE_RATE: Final = 16_000
BIT_RATE: Final = 64_000
"""With one channel and the rate above: what speech recognition uses of any recording."""
FORMATS: Final = {"video/mp4": "mov", "video/quicktime": "mov", "video/webm": "matroska"}
"""The only readers that are used. Others, for example of playlists, open further addresses."""


class RefusedError(Exception):
    """There is no sound to extract. reason: `silent`, `damaged` or `too_long`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def extract(source: BinaryIO, target: BinaryIO, *, form: str, max_seconds: int) -> float:
    """Write the first track of sound as MP3; return its seconds. Raises RefusedError."""
    samples = 0
    with (
        av.open(source, "r", format=form, metadata_errors="replace") as video,
        av.open(target, "w", format="mp3", options={"fflags": "+bitexact"}) as output,
    ):
        if not video.streams.audio:
            raise RefusedError("silent")
        sound = output.add_stream("libmp3lame", rate=SAMPLE_RATE, layout="mono")
        assert isinstance(sound, av.AudioStream)  # noqa: S101 - by its codec
        sound.bit_rate = BIT_RATE
        for frame in _mono(video):
            samples += frame.samples
            if samples > max_seconds * SAMPLE_RATE:
                raise RefusedError("too_long")
            output.mux(sound.encode(frame))
        output.mux(sound.encode())
    if not samples:
        raise RefusedError("silent")
    return samples / SAMPLE_RATE


def _mono(video: InputContainer) -> Iterator[av.AudioFrame]:
    """Decode the sound, with one channel."""
    resampler = av.AudioResampler(format="s16p", layout="mono", rate=SAMPLE_RATE)
    for frame in video.decode(video.streams.audio[0]):
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


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
    """Write the verdict as JSON: the `seconds`, or `refused` with the reason."""
    _limit_resources()
    try:
        seconds = extract(
            cast("BinaryIO", sys.stdin.buffer),
            cast("BinaryIO", sys.stdout.buffer),
            form=FORMATS[sys.argv[1]],
            max_seconds=int(sys.argv[2]),
        )
        verdict: dict[str, object] = {"seconds": seconds}
    except RefusedError as error:
        verdict = {"refused": error.reason}
    except (FFmpegError, ValueError, OSError):  # what PyAV raises for damaged files
        verdict = {"refused": "damaged"}
    sys.stderr.write(json.dumps(verdict))


if __name__ == "__main__":
    main()
