# pyright: reportUnknownMemberType=false
# The types of `av` do not cover packets.
"""Films of given frames and samples, as inputs of operations, made and probed in this process."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer

from core.media.engine import probe_program
from core.media.engine.formats import HEAD_BYTES, format_of
from core.media.engine.probes import probe_of
from core.media.operations.port import InputFile

Pixels = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.float64]
RATE = 25
SOUND_RATE = 48_000
KEY_FRAME_EVERY = 10


def input_file(path: Path) -> InputFile:
    """Return a file with its probe, without the limits of a process of its own."""
    with path.open("rb") as file:
        form = format_of(file.read(HEAD_BYTES), is_own=True)
        assert form is not None
        file.seek(0)
        facts = probe_program.probe(file, form=form.demuxer, max_pixels=10_000_000)
    return InputFile(path=path, sha256="", probe=probe_of(form, facts))


def film(
    path: Path,
    frames: Sequence[Pixels],
    *,
    sound: Samples | None = None,
    pixel_shape: Fraction | None = None,
) -> Path:
    """Write a film of these frames at 25 a second, with a key frame every ten. sound: mono."""
    with av.open(path, "w") as output:
        options = {"preset": "ultrafast", "qp": "8", "bf": "2"}
        stream = output.add_stream("libx264", rate=RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = frames[0].shape[:2]
        stream.gop_size = KEY_FRAME_EVERY
        if pixel_shape is not None:
            stream.codec_context.sample_aspect_ratio = pixel_shape
        voice = (
            output.add_stream("aac", rate=SOUND_RATE, layout="mono") if sound is not None else None
        )
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
        if sound is not None and isinstance(voice, av.AudioStream):
            _mux_sound(output, voice, sound)
    return path


def sound_file(path: Path, samples: Samples, codec: str) -> Path:
    """Write a file of mono sound."""
    with av.open(path, "w") as output:
        voice = output.add_stream(codec, rate=SOUND_RATE, layout="mono")
        assert isinstance(voice, av.AudioStream)
        _mux_sound(output, voice, samples)
    return path


def _mux_sound(output: OutputContainer, voice: av.AudioStream, samples: Samples) -> None:
    values = (samples * 32767).astype(np.int16).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
    output.mux(voice.encode(frame))
    output.mux(voice.encode())


def played(path: Path) -> Samples:
    """Return what a player plays from the start: the mean of the channels at 48 kHz."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=SOUND_RATE)
    placed = np.zeros(10 * SOUND_RATE)
    end = 0
    with av.open(path) as file:
        start = (file.start_time or 0) / av.time_base
        for decoded in file.decode(audio=0):
            for frame in resampler.resample(decoded):
                assert frame.pts is not None
                samples = frame.to_ndarray().mean(axis=0)
                time = float(frame.pts * cast("Fraction", frame.time_base)) - start
                first = round(time * SOUND_RATE)
                samples, first = samples[max(0, -first) :], max(0, first)
                end = first + len(samples)
                placed[first:end] = samples
    return placed[:end]


def gray(level: int, size: tuple[int, int] = (64, 48)) -> Pixels:
    """Return a frame of one gray. size: width and height."""
    return np.full((size[1], size[0], 3), level, np.uint8)


def counted(frames: int, size: tuple[int, int] = (64, 48)) -> list[Pixels]:
    """Return frames whose gray shows their number, up to 50."""
    return [gray(20 + 4 * number, size) for number in range(frames)]


def number_of(frame: Pixels) -> int:
    """Return the number of a counted frame."""
    return round((float(np.mean(frame)) - 20) / 4)


def clicks_at(seconds: float, *times: float) -> Samples:
    """Return silence with a click of 5 ms at each time."""
    samples = np.zeros(round(seconds * SOUND_RATE))
    for time in times:
        start = round(time * SOUND_RATE)
        span = np.arange(SOUND_RATE // 200)
        samples[start : start + len(span)] = 0.9 * np.sin(2 * np.pi * span / 48)
    return samples


def tone(seconds: float, amplitude: float, frequency: float = 997.0) -> Samples:
    """Return a sine."""
    time = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    return amplitude * np.sin(2 * np.pi * frequency * time)
