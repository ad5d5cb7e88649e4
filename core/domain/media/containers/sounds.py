"""The facts of FLAC, Ogg and MP3 files.

They have no mark of their end that every encoder writes. Every file is accepted, also one that is
cut off or damaged.
"""

import struct
from collections.abc import Generator
from dataclasses import dataclass

from core.domain.media.containers.facts import MediaFacts, quotient
from core.domain.media.containers.scan import Need, Parser, Read, Skip, SkipRest, Structure

_FLAC_HEADER_BYTES = 42
"""Marker, header of the first block, and the block STREAMINFO."""
_IDENTIFICATION_BYTES = 64
"""Enough of the first packet of an Ogg stream."""
_OPUS_RATE = 48_000
"""Ogg counts samples of Opus at this rate, whatever the rate of the recording."""
_FIRST_PAGE = 2

_MPEG_1 = 3
_MPEG_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8000)}
_KILOBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KILOBITS_MPEG_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MONO = 3
_PADDING_ENCODERS = {b"LAME", b"Lavf", b"Lavc"}
"""They state in 12 bits each how many samples they added before and after the sound."""
_MP3_TRAILERS = (b"TAG", b"APET", b"LYRI", b"ID3")
"""What may follow the last frame: ID3v1, APE, Lyrics3 and ID3v2 tags."""


def parse_flac() -> Parser:
    """Read the block STREAMINFO, which comes first."""
    header = yield Read(_FLAC_HEADER_BYTES, may_be_short=True)
    yield SkipRest()
    rate, samples = _stream_info(header)
    return Structure(facts=_facts("flac", samples, rate) if rate else None)


def _stream_info(header: bytes) -> tuple[int, int]:
    """Return samples a second and samples of a FLAC header, 0 if it does not state them."""
    if len(header) < _FLAC_HEADER_BYTES or header[:4] != b"fLaC" or header[4] & 0x7F:
        return 0, 0
    packed = int.from_bytes(header[18:26], "big")
    return packed >> 44, packed & ((1 << 36) - 1)


def parse_ogg() -> Parser:
    """Read the headers of all pages: the last one of a stream states how many samples it has.

    One stream after another has no stated duration.
    """
    stream: _OggStream | None = None
    position = 0
    media_began = chained = False
    while len(page := (yield Read(27, may_be_short=True))) == 27 and page[:4] == b"OggS":
        size = sum((yield Read(page[26], may_be_short=True)))
        granule, serial = struct.unpack_from("<qI", page, 6)
        packet = b""
        if page[5] & _FIRST_PAGE:
            chained = chained or media_began
            packet = yield Read(min(size, _IDENTIFICATION_BYTES), may_be_short=True)
            stream = stream or _ogg_stream(serial, packet)
        else:
            media_began = True
            if stream and serial == stream.serial and granule > 0:
                position = granule
        yield Skip(size - len(packet), may_end=True)
    yield SkipRest()
    if stream is None:
        return Structure()
    lost = len(page) == 27
    samples = 0 if chained or lost else position - stream.skipped_samples
    return Structure(facts=_facts(stream.codec, samples, stream.rate))


@dataclass(frozen=True, slots=True)
class _OggStream:
    """rate: samples a second. skipped_samples: counted in the file, and not played."""

    serial: int
    codec: str
    rate: int
    skipped_samples: int = 0


def _ogg_stream(serial: int, packet: bytes) -> _OggStream | None:
    """Return the stream whose first packet this is, None if its codec has no rule here."""
    if packet[:8] == b"OpusHead" and len(packet) >= 12:
        (skipped,) = struct.unpack_from("<H", packet, 10)
        return _OggStream(serial, "opus", _OPUS_RATE, skipped)
    if packet[:7] == b"\x01vorbis" and len(packet) >= 16:
        (rate,) = struct.unpack_from("<I", packet, 12)
        return _OggStream(serial, "vorbis", rate)
    if packet[:5] == b"\x7fFLAC":
        rate, _ = _stream_info(packet[9:])
        return _OggStream(serial, "flac", rate)
    return None


def parse_mp3() -> Parser:
    """Read how many samples the first frame states, else count the frames.

    A frame states its own length, so the count is exact at a constant and at a variable bit rate.
    """
    head = yield Read(4, may_be_short=True)
    while head[:3] == b"ID3":
        tag = yield Read(6, may_be_short=True)
        yield Skip(_id3_bytes(tag), may_end=True)
        head = yield Read(4, may_be_short=True)
    first = _mp3_frame(head)
    facts: MediaFacts | None = None
    if first:
        content = yield Read(first.size - len(head), may_be_short=True)
        samples = _stated_samples(content, first)
        if not samples:
            frames = yield from _count_frames(first, counted=1 if samples is None else 0)
            samples = frames * first.samples
        facts = _facts("mp3", samples, first.rate)
    yield SkipRest()
    return Structure(facts=facts)


def _id3_bytes(tag: bytes) -> int:
    """Return the size of an ID3v2 tag after its header, of which these are the last six bytes."""
    if len(tag) < 6:
        return 0
    size = 0
    for byte in tag[2:]:
        size = size << 7 | byte & 0x7F
    return size + (10 if tag[1] & 0x10 else 0)


@dataclass(frozen=True, slots=True)
class _Mp3Frame:
    """size: in bytes. samples: of one channel. rate: samples a second."""

    size: int
    samples: int
    rate: int
    table_at: int


def _mp3_frame(head: bytes) -> _Mp3Frame | None:
    """Return the frame that begins with these four bytes; None for a free bit rate too."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bit_rate, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in _MPEG_RATES or bit_rate in {0, 15} or rate == 3:
        return None
    kilobits = (_KILOBITS if version == _MPEG_1 else _KILOBITS_MPEG_2)[bit_rate]
    hertz = _MPEG_RATES[version][rate]
    samples = 1152 if version == _MPEG_1 else 576
    side_bytes = (17, 32) if version == _MPEG_1 else (9, 17)
    return _Mp3Frame(
        size=samples // 8 * kilobits * 1000 // hertz + (head[2] >> 1 & 1),
        samples=samples,
        rate=hertz,
        table_at=side_bytes[head[3] >> 6 != _MONO],
    )


def _stated_samples(content: bytes, frame: _Mp3Frame) -> int | None:
    """Return how many samples a table of contents states, 0 if it states none.

    None: the frame is no table of contents but sound.
    """
    table = content[frame.table_at :]
    if table[:4] in {b"Xing", b"Info"} and len(table) >= 12:
        has_frames, has_size, has_positions, has_quality = (table[7] >> bit & 1 for bit in range(4))
        encoder = table[8 + 4 * (has_frames + has_size + has_quality) + 100 * has_positions :]
        padding = int.from_bytes(encoder[21:24], "big") if encoder[:4] in _PADDING_ENCODERS else 0
        samples = int.from_bytes(table[8:12], "big") * frame.samples if has_frames else 0
        return max(samples - (padding >> 12) - (padding & 0xFFF), 0)
    if content[32:36] == b"VBRI" and len(content) >= 50:
        return int.from_bytes(content[46:50], "big") * frame.samples
    return None


def _count_frames(first: _Mp3Frame, *, counted: int) -> Generator[Need, bytes, int]:
    """Return how many frames the file has, 0 if another thing lies among them."""
    while len(head := (yield Read(4, may_be_short=True))) == 4:
        frame = _mp3_frame(head)
        if frame is None or frame.rate != first.rate:
            return counted if head.startswith(_MP3_TRAILERS) else 0
        counted += 1
        yield Skip(frame.size - len(head), may_end=True)
    return counted


def _facts(codec: str, samples: int, rate: int) -> MediaFacts:
    return MediaFacts(duration_seconds=quotient(samples, rate), codec=codec, has_audio=True)
