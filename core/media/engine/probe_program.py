# pyright: reportUnknownMemberType=false
# The types of `av` do not cover packets.
"""Report what a media file contains: a program of its own.

It decodes what users send. So it runs as a process without environment or keys, with limits of its
own on memory and time, and imports nothing of this service. It reads the file from standard input
and writes its verdict to standard error. Arguments: the file's reader and the most pixels.

It reads every packet, because headers may state other lengths than the file has, and decodes the
first picture.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.format import VideoFormat

MEMORY_BYTES: Final = 1536 * 1024**2
"""Of addresses: the libraries need half a gigabyte, a picture of 40 megapixels 320 MiB."""
CPU_SECONDS: Final = 10
CPU_GRACE_SECONDS: Final = 5
NICE: Final = 10
_TRANSFERS: Final = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    11: "iec61966-2-4",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    18: "arib-std-b67",
}
_RANGES: Final = {1: "tv", 2: "pc"}
_WEBP_ANIMATION: Final = 0x02
_USUAL_FRAME_RATE: Final = 25.0
_STATED_RATE_ERROR: Final = 0.02


class RefusedError(Exception):
    """The file is not accepted. reason: `damaged`, `codec` or `pixels`."""

    def __init__(self, reason: str, **facts: object) -> None:
        super().__init__(reason)
        self.verdict = {"refused": reason, **facts}


@dataclass(slots=True)
class Track:
    """The packets of one stream. start, end, last: in seconds."""

    stream: Stream
    packets: int = 0
    start: float | None = None
    end: float = 0.0
    last: float = 0.0
    skipped: float = 0.0
    picture: av.VideoFrame | None = field(default=None)

    @property
    def seconds(self) -> float:
        return max(0.0, self.end - (self.start or 0.0))

    def add(self, packet: Packet[Stream]) -> None:
        """Count a packet that the file shows: not one before the beginning of an edit."""
        if packet.is_discard or packet.pts is None:
            return
        time = float(packet.pts * packet.time_base)
        length = float((packet.duration or 0) * packet.time_base)
        if self.packets == 0 and packet.has_sidedata("skip_samples"):
            time += self._padding(packet)
        self.packets += 1
        self.start = time if self.start is None else min(self.start, time)
        self.last = max(self.last, time)
        self.end = max(self.end, time + length)

    def _padding(self, packet: Packet[Stream]) -> float:
        """Return the seconds that an encoder added before the sound."""
        sidedata = bytes(packet.get_sidedata("skip_samples"))
        rate = cast("av.AudioStream", self.stream).rate
        return int.from_bytes(sidedata[:4], "little") / rate if rate else 0.0


def probe(source: BinaryIO, *, form: str, max_pixels: int) -> dict[str, object]:
    """Return the facts of a file. Raises RefusedError."""
    # Nothing but the file itself may be opened: no other protocol, no other reader.
    animation = _animated_webp(source) if form == "webp_pipe" else None
    if animation is not None:
        return animation
    options = {"format_whitelist": form, "protocol_whitelist": "none"}
    with av.open(source, "r", format=form, options=options, metadata_errors="replace") as file:
        picture, sound = _used(file, max_pixels)
        tracks = _read(file, *(stream for stream in (picture, sound) if stream is not None))
        facts: dict[str, object] = {}
        if picture is not None:
            facts |= _picture_facts(tracks[picture.index], picture)
        if sound is not None:
            facts |= _sound_facts(tracks[sound.index], sound)
        lengths = [track for track in tracks.values() if track.packets]
        first = min((track.start or 0.0 for track in lengths), default=0.0)
        facts["seconds"] = max((track.end for track in lengths), default=0.0) - first
        if picture is not None:
            facts["picture_seconds"] = tracks[picture.index].end - first
        if picture is not None and sound is not None:
            began = tracks[picture.index].start or 0.0
            facts["sound_start_seconds"] = (tracks[sound.index].start or 0.0) - began
        return facts


def _animated_webp(source: BinaryIO) -> dict[str, object] | None:
    """Return the size of an animated WebP, which the libraries cannot decode; None for others."""
    head = source.read(30)
    source.seek(0)
    if head[12:16] != b"VP8X" or not head[20] & _WEBP_ANIMATION:
        return None
    return {
        "animated": True,
        "video_codec": "webp",
        "video_stream": 0,
        "stored_width": 1 + int.from_bytes(head[24:27], "little"),
        "stored_height": 1 + int.from_bytes(head[27:30], "little"),
    }


def _used(
    file: InputContainer, max_pixels: int
) -> tuple[av.VideoStream | None, av.AudioStream | None]:
    """Return the picture and the sound that operations use: the first of each, no cover."""
    pictures = [
        stream for stream in file.streams.video if not stream.disposition & Disposition.attached_pic
    ]
    sounds = list(file.streams.audio)
    picture = pictures[0] if pictures else None
    sound = sounds[0] if sounds else None
    for stream in (picture, sound):
        # Without a decoder, PyAV makes no context.
        if stream is not None and cast("object", stream.codec_context) is None:
            raise RefusedError("codec", stream=stream.type)
    if picture is not None:
        picture.codec_context.thread_count = 1
        if picture.width * picture.height > max_pixels:
            raise RefusedError("pixels", width=picture.width, height=picture.height)
    return picture, sound


def _read(file: InputContainer, *streams: Stream) -> dict[int, Track]:
    """Read the packets of the streams, and decode the first picture."""
    tracks = {stream.index: Track(stream) for stream in streams}
    if not tracks:
        raise RefusedError("damaged")
    try:
        for packet in file.demux(*streams):
            track = tracks[packet.stream.index]
            track.add(packet)
            if isinstance(packet.stream, av.VideoStream) and track.picture is None:
                frames = cast("Packet[av.VideoStream]", packet).decode()
                track.picture = frames[0] if frames else None
    except FFmpegError:
        if not any(track.packets for track in tracks.values()):
            raise
    return tracks


def _picture_facts(track: Track, stream: av.VideoStream) -> dict[str, object]:
    frame = track.picture
    if frame is None:
        raise RefusedError("damaged")
    rate = _frame_rate(track, stream)
    if track.end <= track.last and track.packets > 1:  # the packets state no duration
        track.end = track.last + 1 / rate
    aspect = stream.sample_aspect_ratio
    context = stream.codec_context
    return {
        "video_stream": stream.index,
        "video_codec": context.name,
        "stored_width": frame.width,
        "stored_height": frame.height,
        "sample_aspect_ratio": float(aspect) if aspect else 1.0,
        # Positive in the display matrix is against the clock.
        "rotation": -frame.rotation % 360,
        "pixel_format": frame.format.name,
        "has_alpha": _has_alpha(frame.format) or stream.metadata.get("alpha_mode") == "1",
        "color_transfer": _TRANSFERS.get(int(frame.color_trc), ""),
        "color_range": _RANGES.get(int(frame.color_range), ""),
        "frame_rate": rate,
        "frames": track.packets,
    }


def _frame_rate(track: Track, stream: av.VideoStream) -> float:
    """Return the average rate: the stated one unless the packets contradict it."""
    stated = float(stream.average_rate or 0)
    length = track.last - (track.start or 0.0)
    measured = (track.packets - 1) / length if length > 0 else 0.0
    if stated and (not measured or abs(stated / measured - 1) < _STATED_RATE_ERROR):
        return stated
    return measured or _USUAL_FRAME_RATE


def _has_alpha(form: VideoFormat) -> bool:
    return any(component.is_alpha for component in form.components)


def _sound_facts(track: Track, stream: av.AudioStream) -> dict[str, object]:
    return {
        "audio_stream": stream.index,
        "audio_codec": stream.codec_context.name,
        "sample_rate": stream.rate,
        "channels": stream.channels,
        "sound_seconds": track.seconds,
    }


def _limit_resources() -> None:
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        # At the soft limit of processor time the signal shows why the program ended.
        most = value + CPU_GRACE_SECONDS if limit == resource.RLIMIT_CPU else value
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (min(value, most), most))
    os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))


def main() -> None:
    """Write the verdict as JSON: the facts, or `refused` with the reason."""
    _limit_resources()
    try:
        verdict = probe(
            cast("BinaryIO", sys.stdin.buffer), form=sys.argv[1], max_pixels=int(sys.argv[2])
        )
    except RefusedError as error:
        verdict = error.verdict
    except (FFmpegError, ValueError, OSError, MemoryError):  # what PyAV raises for damaged files
        verdict = {"refused": "damaged"}
    sys.stderr.write(json.dumps(verdict))


if __name__ == "__main__":
    main()
