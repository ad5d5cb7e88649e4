# pyright: reportUnknownMemberType=false
# The types of `av` do not cover packets.
"""Join parts of H.264 films without decoding them: a program of its own.

It reads what users send, so it runs as `probe_program` does: without environment or keys, with
limits of its own, and without an import of this service. Argument: the order as JSON, with the
parts, the frame rate and the most bytes to write. It writes a QuickTime file with the picture to
standard output and its verdict to standard error.

A part is joined only if the copy shows exactly its frames: they have a constant rate, and the part
begins and ends where a decoder needs no other frame.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypedDict, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

MEMORY_BYTES: Final = 1536 * 1024**2
"""Of addresses: the libraries need half a gigabyte."""
CPU_SECONDS: Final = 120
NICE: Final = 10
_OFF_GRID: Final = Fraction(1, 4)
"""How far, in frames, the time of a frame may be from its place."""
_NAL_TYPE: Final = 0x1F
_IDR: Final = 5
_PARAMETER_SETS: Final = frozenset({7, 8})
_AVCC_VERSION: Final = 1
_AVCC_BYTES: Final = 7
_LENGTH_BITS: Final = 3


class Part(TypedDict):
    """Frames of a film. form: its reader. stream: its picture. first: from 0. frames: how many."""

    path: str
    form: str
    stream: int
    first: int
    frames: int


class Order(TypedDict):
    """What to join. rate: frames a second, as numerator and denominator."""

    parts: list[Part]
    rate: tuple[int, int]
    most_bytes: int


class RefusedError(Exception):
    """A part cannot be joined without decoding it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An encoded frame. place: among the frames of its film as they are shown.

    is_free: neither this frame nor a later one needs an earlier one.
    """

    place: int
    is_free: bool


@dataclass(frozen=True, slots=True)
class Film:
    """The frames of a file in the order of decoding. extradata: how a decoder is set up for it."""

    frames: Sequence[Frame]
    extradata: bytes


def read(part: Part, rate: Fraction) -> Film:
    """Read the frames of a part's file. Raises RefusedError."""
    with _opened(part) as file:
        stream = _picture(file, part)
        extradata = bytes(stream.codec_context.extradata or b"")
        if stream.codec_context.name != "h264" or not _is_avcc(extradata):
            raise RefusedError("codec")
        begin: int | None = None
        frames: list[tuple[int, bool]] = []
        for packet in _packets(file, stream):
            if packet.pts is None or packet.is_discard:
                raise RefusedError("times")
            begin = packet.pts if begin is None else min(begin, packet.pts)
            types = set(_nal_types(bytes(packet), extradata))
            frames.append((packet.pts, packet.is_keyframe and _IDR in types))
        scale = cast("Fraction", stream.time_base) * rate
    exact = [(time - (begin or 0)) * scale for time, _ in frames]
    places = [round(place) for place in exact]
    if any(abs(place - time) > _OFF_GRID for place, time in zip(places, exact, strict=True)):
        raise RefusedError("times")
    if sorted(places) != list(range(len(places))):
        raise RefusedError("times")
    return Film(
        [Frame(place, is_free) for place, (_, is_free) in zip(places, frames, strict=True)],
        extradata,
    )


def _opened(part: Part) -> InputContainer:
    # Nothing but the file itself may be opened: no other protocol, no other reader.
    options = {"format_whitelist": part["form"], "protocol_whitelist": "none"}
    file = Path(part["path"]).open("rb")  # noqa: SIM115 - open as long as the container
    return av.open(file, "r", format=part["form"], options=options, metadata_errors="replace")


def _picture(file: InputContainer, part: Part) -> av.VideoStream:
    return cast("av.VideoStream", file.streams[part["stream"]])


def _packets(file: InputContainer, stream: av.VideoStream) -> Iterator[Packet[av.VideoStream]]:
    for packet in file.demux(stream):
        if packet.size:  # the last one is empty
            yield packet


def _is_avcc(extradata: bytes) -> bool:
    return len(extradata) > _AVCC_BYTES and extradata[0] == _AVCC_VERSION


def _nal_types(packet: bytes, extradata: bytes) -> Iterator[int]:
    """Yield the kinds of units in a frame. Raises RefusedError for one that changes the decoder."""
    width = (extradata[4] & _LENGTH_BITS) + 1
    position = 0
    while position + width < len(packet):
        length = int.from_bytes(packet[position : position + width], "big")
        position += width
        kind = packet[position] & _NAL_TYPE
        if kind in _PARAMETER_SETS and packet[position : position + length] not in extradata:
            raise RefusedError("parameters")
        yield kind
        position += length


def cut(film: Film, first: int, count: int) -> slice:
    """Return which frames a part has, in the order of decoding. Raises RefusedError."""
    begin, end = _boundary(film.frames, first), _boundary(film.frames, first + count)
    if end <= begin:
        raise RefusedError("range")
    return slice(begin, end)


def _boundary(frames: Sequence[Frame], place: int) -> int:
    """Return the place if all frames that are shown before it are decoded before it."""
    if place == len(frames):
        return place
    if place > len(frames) or not frames[place].is_free or frames[place].place != place:
        raise RefusedError("boundary")
    if any(frame.place > place for frame in frames[:place]):
        raise RefusedError("boundary")
    return place


def join(order: Order, target: BinaryIO) -> int:
    """Write the parts one after the other, and return the number of frames."""
    rate = Fraction(*order["rate"])
    films: dict[str, Film] = {}
    cuts: list[slice] = []
    shown: list[int] = []
    for number, part in enumerate(order["parts"]):
        path = part["path"]
        film = films[path] = films.get(path) or read(part, rate)
        if film.extradata != films[order["parts"][0]["path"]].extradata:
            raise RefusedError("parameters")
        frames = film.frames[cut(film, part["first"], part["frames"])]
        cuts.append(cut(film, part["first"], part["frames"]))
        if frames[-1].is_free and number + 1 < len(order["parts"]):
            # Of two such frames in a row, a decoder may take the second for a part of the first.
            raise RefusedError("boundary")
        begin = len(shown) - part["first"]
        shown += [begin + frame.place for frame in frames]
    _write(order["parts"], cuts, shown, rate, target)
    return len(shown)


def _write(
    parts: Sequence[Part],
    cuts: Sequence[slice],
    shown: Sequence[int],
    rate: Fraction,
    target: BinaryIO,
) -> None:
    """Copy the frames. shown: the place of each in the result, in the order of decoding."""
    delay = max(place - time for place, time in enumerate(shown))
    with av.open(target, "w", format="mov", options={"fflags": "+bitexact"}) as output:
        with _opened(parts[0]) as first:
            stream = output.add_stream_from_template(_picture(first, parts[0]))
        stream.time_base = 1 / rate
        place = 0
        for part, frames in zip(parts, cuts, strict=True):
            with _opened(part) as file:
                packets = _packets(file, _picture(file, part))
                for source in islice(packets, frames.start, frames.stop):
                    packet = Packet(bytes(source))
                    packet.stream = stream
                    packet.time_base = 1 / rate
                    packet.pts, packet.dts, packet.duration = shown[place], place - delay, 1
                    packet.is_keyframe = source.is_keyframe
                    output.mux_one(packet)
                    place += 1


def _limit_resources(most_bytes: int) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, most_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))


def main() -> None:
    """Write the verdict as JSON: the number of frames, or `refused` with the reason."""
    order: Order = json.loads(sys.argv[1])
    _limit_resources(order["most_bytes"])
    verdict: dict[str, object]
    try:
        verdict = {"frames": join(order, cast("BinaryIO", sys.stdout.buffer))}
    except RefusedError as error:
        verdict = {"refused": str(error)}
    except (FFmpegError, ValueError, OSError, MemoryError):
        verdict = {"refused": "damaged"}
    sys.stderr.write(json.dumps(verdict))


if __name__ == "__main__":
    main()
