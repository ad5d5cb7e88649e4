# PyAV's frames and packets are typed only in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""Encoding and decoding of sound and of videos with PyAV. All functions block: run in a thread."""

import io
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from PIL import Image

from sandbox.files.speech import SAMPLE_RATE

FRAMES_PER_SECOND = 24
_AUDIO_CODECS = {"mp3": "libmp3lame", "wav": "pcm_s16le"}
_SAMPLES_PER_FRAME = 1152
BIT_RATE = 48_000


class UnreadableError(ValueError):
    """The bytes of an input file cannot be decoded."""


def sound(
    samples: bytes, file_format: str, *, rate: int = SAMPLE_RATE, bit_rate: int = BIT_RATE
) -> bytes:
    """Return samples as an MP3 or WAV file, of this rate of its own samples."""
    written = io.BytesIO()
    with av.open(written, "w", format=file_format) as container:
        stream = _add_sound(container, _AUDIO_CODECS[file_format], rate, bit_rate)
        _mux_sound(container, stream, samples)
    return written.getvalue()


def _add_sound(
    container: Any, codec: str, rate: int = SAMPLE_RATE, bit_rate: int = BIT_RATE
) -> Any:
    stream = container.add_stream(codec, rate=rate)
    stream.layout = "mono"
    if codec != "pcm_s16le":
        stream.bit_rate = bit_rate
    return stream


def _mux_sound(container: Any, stream: Any, samples: bytes) -> None:
    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=stream.rate)
    size = 2 * _SAMPLES_PER_FRAME
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(part) // 2, align=1)
        frame.planes[0].update(part)
        frame.sample_rate = SAMPLE_RATE
        frame.pts, frame.time_base = start // 2, Fraction(1, SAMPLE_RATE)
        for fitting in resampler.resample(frame):
            container.mux(stream.encode(fitting))
    for rest in resampler.resample(None):
        container.mux(stream.encode(rest))
    container.mux(stream.encode())


def samples_of(content: bytes) -> bytes:
    """Return the sound of a file as samples. Raise UnreadableError, also without any sound."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    decoded = bytearray()
    try:
        with av.open(io.BytesIO(content), "r") as container:
            if not container.streams.audio:
                raise UnreadableError("the file has no sound")
            for frame in (*container.decode(audio=0), None):
                for part in resampler.resample(frame):
                    decoded += bytes(part.planes[0])[: 2 * part.samples]
    except (FFmpegError, ValueError) as error:
        raise UnreadableError(str(error)) from error
    return bytes(decoded)


def mp4(
    frames: Iterable[Image.Image], width: int, height: int, *, samples: bytes | None = None,
    rate: Fraction = Fraction(FRAMES_PER_SECOND),
) -> bytes:  # fmt: skip
    """Return an MP4 (H.264, yuv420p, index first), with a sound track if there are samples."""
    # To put the index first, the muxer reopens its output by name: it needs a real file.
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        with av.open(file.name, "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream: Any = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = 1 / rate
            stream.codec_context.thread_count = 1
            stream.options = {"preset": "ultrafast", "crf": "28"}
            track = None if samples is None else _add_sound(container, "aac")
            for number, image in enumerate(frames):
                frame = av.VideoFrame.from_image(image)
                frame.pts, frame.time_base = number, 1 / rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if samples is not None:
                _mux_sound(container, track, samples)
        return Path(file.name).read_bytes()


def webm(frames: Iterable[Image.Image], width: int, height: int, *, rate: Fraction) -> bytes:
    """Return a WebM (VP9) whose transparency is that of the frames."""
    written = io.BytesIO()
    with av.open(written, "w", format="webm") as container:
        stream: Any = container.add_stream("libvpx-vp9", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuva420p"
        stream.codec_context.time_base = 1 / rate
        stream.codec_context.thread_count = 1
        # libvpx refuses alternate reference frames together with transparency.
        stream.options = {
            "deadline": "realtime", "cpu-used": "8", "crf": "40", "b": "0", "auto-alt-ref": "0",
        }  # fmt: skip
        for number, image in enumerate(frames):
            rgba = image.convert("RGBA").tobytes()
            frame = av.VideoFrame.from_bytes(rgba, width, height, format="rgba")
            frame = frame.reformat(format="yuva420p")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return written.getvalue()


def rate_of(content: bytes) -> Fraction:
    """Return the frames per second of a readable video."""
    with av.open(io.BytesIO(content), "r") as container:
        return container.streams.video[0].average_rate or Fraction(FRAMES_PER_SECOND)


def frames_of(content: bytes) -> Iterator[tuple[float, Image.Image]]:
    """Yield the frames of a readable video with their times in seconds."""
    with av.open(io.BytesIO(content), "r") as container:
        for frame in container.decode(video=0):
            yield frame.time or 0.0, frame.to_image()
