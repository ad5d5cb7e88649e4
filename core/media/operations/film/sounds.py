"""Filters that bring any sound to 48 kHz stereo, place it in time and mix it.

Every function returns filter text of numbers and enumerated words. Durations are in samples, so
that the sound of a film is as long as its frames to the sample.
"""

from collections.abc import Sequence

from core.media.operations.film.encoding import SAMPLE_RATE
from core.media.operations.film.pictures import number
from core.media.operations.port import Probe

_LIMITER = "alimiter=limit=0.97:attack=5:release=50:level=0:latency=1"
"""level=0: by default, this filter raises the level to the limit. latency=1: no delay."""
_COUNTED = "asetpts=N/SR/TB"
"""Times from the number of samples: adelay and alimiter pass on times that do not fit them."""
_DUCKING = "sidechaincompress=threshold=0.03:ratio=8:attack=20:release=400:makeup=1"


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def stereo(probe: Probe) -> str:
    """Return a chain to 48 kHz stereo that starts at 0, with silence where samples are missing.

    One channel keeps its level on both sides.
    """
    both = "pan=stereo|c0=c0|c1=c0," if probe.channels == 1 else ""
    return (
        f"aresample={SAMPLE_RATE}:async=1:min_hard_comp=0.01:first_pts=0,{both}"
        f"aformat=sample_fmts=fltp:sample_rates={SAMPLE_RATE}:channel_layouts=stereo"
    )


def cut(start: float, seconds: float | None = None) -> str:
    """Return a chain that keeps a part of the sound."""
    end = "" if seconds is None else f":end_sample={samples(start) + samples(seconds)}"
    return f"atrim=start_sample={samples(start)}{end},{_COUNTED}"


def delayed(seconds: float) -> str:
    """Return a chain that starts the sound later."""
    return f"adelay=delays={samples(seconds)}S:all=1,{_COUNTED}"


def lasting(length: int) -> str:
    """Return a chain that gives exactly this many samples: silence is added or the end cut off."""
    return f"apad,atrim=end_sample={length}"


def silence(length: int, target: str) -> str:
    """Return a graph that makes this many silent samples."""
    return (
        f"anullsrc=r={SAMPLE_RATE}:cl=stereo,aformat=sample_fmts=fltp,"
        f"atrim=end_sample={length}{target}"
    )


def louder(volume: float) -> str:
    """Return a chain that multiplies the level; empty for 1. It starts with a comma."""
    return "" if volume == 1 else f",volume={number(volume)}"


def faded(length: int, fade_in: float, fade_out: float) -> str:
    """Return a chain that fades in and out; empty without a fade. It starts with a comma."""
    text = ""
    if fade_in:
        text += f",afade=t=in:ss=0:ns={samples(fade_in)}"
    if fade_out:
        fade = min(length, samples(fade_out))
        text += f",afade=t=out:ss={length - fade}:ns={fade}"
    return text


def mixed(sources: Sequence[str], target: str) -> str:
    """Return a graph that adds sounds of equal length at their own levels.

    Without normalize=0, amix divides every level by the number of its inputs.
    """
    if len(sources) == 1:
        return f"{sources[0]}anull{target}"
    return (
        f"{''.join(sources)}amix=inputs={len(sources)}:duration=longest:normalize=0"
        f":dropout_transition=0{target}"
    )


def limited(source: str, target: str) -> str:
    """Return a graph that keeps the sum of loud sounds from being clipped."""
    return f"{source}{_LIMITER},{_COUNTED}{target}"


def ducked(music: str, speech: str, target: str) -> str:
    """Return a graph that lowers one sound while another is audible. Equal lengths."""
    return f"{music}{speech}{_DUCKING}{target}"
