"""Small clips, pictures and sounds, and what was made of them, decoded."""

import subprocess
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
from PIL import Image

RATE = 48_000
CLICK_SECONDS = 0.005

Samples = npt.NDArray[np.float64]
Frame = npt.NDArray[np.uint8]


def ffmpeg(path: Path, *arguments: str) -> Path:
    """Write a file with the program directly, which here needs no guard."""
    program = imageio_ffmpeg.get_ffmpeg_exe()
    command = [program, "-v", "error", "-nostdin", "-y", *arguments, str(path)]
    subprocess.run(command, check=True)
    return path


def click(at: float, seconds: float, rate: int = RATE) -> tuple[str, ...]:
    """Return an input: 5 ms of 1 kHz at a time, else silence, on one channel."""
    return (
        "-f",
        "lavfi",
        "-i",
        f"aevalsrc='if(between(t,{at},{at + CLICK_SECONDS}),0.9*sin(2*PI*1000*(t-{at})),0)'"
        f":s={rate}:c=mono:d={seconds}",
    )


def tone(seconds: float, frequency: int = 440) -> tuple[str, ...]:
    """Return an input: a tone with an amplitude of 1/8."""
    return ("-f", "lavfi", "-i", f"sine=frequency={frequency}:sample_rate={RATE}:d={seconds}")


def clip(
    path: Path,
    color: str,
    *sound: str,
    size: str = "128x96",
    rate: int = 25,
    seconds: float = 1.0,
) -> Path:
    """Write a clip of one colour. sound: an input."""
    return film(path, f"color={color}:s={size}:r={rate}:d={seconds}", *sound)


def film(path: Path, graph: str, *sound: str) -> Path:
    """Write what a filter graph shows. sound: an input."""
    picture = ("-f", "lavfi", "-i", graph)
    encoded = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "10", "-pix_fmt", "yuv420p")
    return ffmpeg(path, *picture, *sound, *encoded, "-c:a", "aac")


HALF_TRANSPARENT = "geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,W/2),128,255)'"


def transparent(path: Path, codec: str, pixels: str) -> Path:
    """Write a red clip of 0.4 s whose left half is half transparent."""
    graph = f"color=red:s=64x64:r=25:d=0.4,format=rgba,{HALF_TRANSPARENT}"
    return ffmpeg(path, "-f", "lavfi", "-i", graph, "-c:v", codec, "-pix_fmt", pixels)


def picture(path: Path, graph: str) -> Path:
    """Write the first frame of a filter graph."""
    return ffmpeg(path, "-f", "lavfi", "-i", graph, "-frames:v", "1", "-update", "1")


def stripes(path: Path) -> Path:
    """Write a square picture of black and white stripes, 4 pixels wide."""
    row = np.repeat([0, 255], 4).astype(np.uint8)
    Image.fromarray(np.tile(row, (128, 16))).save(path)
    return path


def frames_of(path: Path) -> list[Frame]:
    """Return every frame as RGB, height by width."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24").astype(np.uint8) for frame in file.decode(video=0)]


def sound_of(path: Path) -> Samples:
    """Return the mean of both channels at 48 kHz. Samples are placed by their times."""
    with av.open(str(path)) as file:
        frames = [frame for frame in file.decode(audio=0) if frame.pts is not None]
    placed = np.zeros(RATE * 120)
    end = 0
    for frame in frames:
        assert frame.sample_rate == RATE
        assert frame.pts is not None
        assert frame.time_base is not None
        samples = frame.to_ndarray().mean(axis=0)
        start = round(float(frame.pts * frame.time_base) * RATE)
        samples, start = samples[max(0, -start) :], max(0, start)
        end = start + len(samples)
        placed[start:end] = samples
    return placed[:end]


def clicks(samples: Samples) -> list[float]:
    """Return the times at which clicks begin: loud after 50 ms without anything loud."""
    loud = np.flatnonzero(np.abs(samples) > 0.3)
    starts = loud[np.diff(loud, prepend=-RATE) > RATE // 20]
    return [float(start) / RATE for start in starts]


def level(samples: Samples, start: float, end: float) -> float:
    """Return the level between two times in dB of full scale."""
    part = samples[round(start * RATE) : round(end * RATE)]
    return float(10 * np.log10(np.mean(part**2) + 1e-12))


def color_at(frame: Frame, x: int, y: int) -> tuple[int, int, int]:
    red, green, blue = (int(channel) for channel in frame[y, x])
    return red, green, blue


def is_near(color: tuple[int, int, int], wanted: tuple[int, int, int], within: int = 6) -> bool:
    return all(abs(a - b) <= within for a, b in zip(color, wanted, strict=True))
