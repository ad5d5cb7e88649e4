# pyright: reportUnknownMemberType=false
"""Facts of generated films and sounds equal what FFmpeg reads; damaged headers refuse no file."""

import io
import json
import struct
from dataclasses import asdict, replace
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.media.containers import ebml, iso, pictures, riff, sounds
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.containers.scan import Parser, Scan
from core.domain.media.content import IncompleteError, content_type_of
from tests.support.media_files import film, picture, silence, talkie

pytestmark = pytest.mark.guarantee("G7")

PARSERS = {
    "image/jpeg": pictures.parse_jpeg,
    "image/png": pictures.parse_png,
    "image/webp": riff.parse,
    "video/mp4": iso.parse,
    "video/webm": ebml.parse,
    "audio/wav": riff.parse,
    "audio/mpeg": sounds.parse_mp3,
    "audio/ogg": sounds.parse_ogg,
    "audio/flac": sounds.parse_flac,
}


def facts_of(content: bytes, *, chunk_bytes: int = 100_000) -> MediaFacts | None:
    content_type = content_type_of(content[:256])
    assert content_type is not None
    return parsed(PARSERS[content_type](), content, chunk_bytes=chunk_bytes)


def parsed(parser: Parser, content: bytes, *, chunk_bytes: int = 100_000) -> MediaFacts | None:
    scan = Scan(parser)
    for start in range(0, len(content), chunk_bytes):
        scan.feed(content[start : start + chunk_bytes])
    scan.finish()
    return scan.structure.facts


def mp3(*, rate: int = 44_100, quality: str | None = None, **muxer: str) -> bytes:
    options = {"q": quality} if quality else {"b": "32k"}
    return silence(
        "mp3",
        "libmp3lame",
        rate=rate,
        options=options,
        muxer_options=muxer,
        metadata={"title": "x"},
    )


FILMS = {
    "VP8": film("webm", "libvpx"),
    "VP9": film("webm", "libvpx-vp9"),
    "VP9 and Opus": talkie("webm", "libvpx-vp9", "libopus"),
    "MP4": film("mp4", "libx264"),
    "MP4 and AAC": talkie(),
}
SOUNDS = {
    "WAV": silence("wav", "pcm_s16le", rate=8000),
    "WAV with tags": silence("wav", "pcm_s16le", rate=8000, metadata={"title": "x"}),
    "WAV of 24 bits": silence("wav", "pcm_s24le", rate=8000, metadata={"title": "xy"}),
    "WebM": silence("webm", "libopus"),
    "FLAC": silence("flac", "flac"),
    "FLAC in Ogg": silence("ogg", "flac"),
    "Opus in Ogg": silence("ogg", "libopus"),
    "Vorbis in Ogg": silence("ogg", "vorbis", options={"strict": "experimental"}),
    "MP3": mp3(),
    "MP3 at 22 kHz": mp3(rate=22_050),
    "MP3 at 8 kHz": mp3(rate=8000),
    "MP3 of variable rate": mp3(quality="4"),
    "MP3 without table": mp3(write_xing="0"),
    "MP3 of variable rate without table": mp3(quality="4", write_xing="0"),
    "MP3 without table, tag at the end": mp3(write_xing="0", write_id3v1="1"),
    "MP3 without tag": mp3(write_xing="0", id3v2_version="0"),
    "MP3 at 8 kHz without table": mp3(rate=8000, write_xing="0"),
}
CODECS = {"mp3float": "mp3", "pcm_s16le": "pcm", "pcm_s24le": "pcm"}


def test_codec_of_an_av1_film_is_its_name() -> None:
    """The encoder itself is not used: as root it gives the whole process real-time priority."""
    facts = facts_of(FILMS["VP9"].replace(b"V_VP9", b"V_AV1"))
    assert facts is not None
    assert facts.codec == "av1"


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
def test_facts_of_a_film_are_those_that_ffmpeg_reads(name: str, chunk_bytes: int) -> None:
    facts = facts_of(FILMS[name], chunk_bytes=chunk_bytes)
    with av.open(io.BytesIO(FILMS[name]), "r") as container:
        (video,) = container.streams.video
        codec = video.codec_context.name
        assert video.average_rate
        assert container.duration
        assert facts == MediaFacts(
            width=video.width,
            height=video.height,
            duration_seconds=round(container.duration / 1_000_000, 3),
            frame_rate=float(video.average_rate),
            codec=CODECS.get(codec, codec),
            has_audio=bool(container.streams.audio),
            faststart=None if content_type_of(FILMS[name]) == "video/webm" else False,
        )


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
def test_duration_of_a_sound_is_that_of_its_decoded_samples(name: str, chunk_bytes: int) -> None:
    facts = facts_of(SOUNDS[name], chunk_bytes=chunk_bytes)
    with av.open(io.BytesIO(SOUNDS[name]), "r") as container:
        (sound,) = container.streams.audio
        codec = sound.codec_context.name
        samples = sum(frame.samples for frame in container.decode(sound))
    assert samples / sound.rate == pytest.approx(1.5, abs=0.2)
    assert facts is not None
    assert facts.duration_seconds == pytest.approx(samples / sound.rate, abs=0.01)
    assert facts == MediaFacts(
        duration_seconds=facts.duration_seconds,
        codec=CODECS.get(codec, codec),
        has_audio=True,
    )


VP8 = facts_of(FILMS["VP8"])
OPUS, MP3 = SOUNDS["Opus in Ogg"], SOUNDS["MP3 without tag"]
assert VP8


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new)


INFO_DURATION = b"\x44\x89\x88" + struct.pack(">d", 300)
FRAME_DURATION = b"\x23\xe3\x83\x84" + (100_000_000).to_bytes(4, "big")
TIMESTAMP_SCALE = b"\x2a\xd7\xb1\x83" + (1_000_000).to_bytes(3, "big")


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        pytest.param(
            TIMESTAMP_SCALE,
            b"\x2a\xd7\xb1\x83" + (100_000).to_bytes(3, "big"),
            replace(VP8, duration_seconds=0.03),
            id="other scale",
        ),
        pytest.param(TIMESTAMP_SCALE, b"\xec\x85scale", VP8, id="no scale"),
        pytest.param(
            INFO_DURATION,
            b"\x44\x89\x84" + struct.pack(">f", 1500) + b"\xec\x82ab",
            replace(VP8, duration_seconds=1.5),
            id="short float",
        ),
        *(
            pytest.param(
                INFO_DURATION,
                b"\x44\x89\x88" + struct.pack(">d", number),
                replace(VP8, duration_seconds=None),
                id=f"duration {number}",
            )
            for number in (float("nan"), float("inf"), 1e300, 0.0, -1.0)
        ),
        pytest.param(INFO_DURATION, b"\x44\x89\x87" + bytes(8), None, id="damaged Info"),
        pytest.param(
            FRAME_DURATION,
            b"\x23\xe3\x83\x84" + (41_708_333).to_bytes(4, "big"),
            replace(VP8, frame_rate=23.976),
            id="other frame rate",
        ),
        pytest.param(
            FRAME_DURATION,
            b"\x23\xe3\x83\x84" + bytes(4),
            replace(VP8, frame_rate=None),
            id="frames without duration",
        ),
        pytest.param(b"V_VP8", b"V_XYZ", replace(VP8, codec="V_XYZ"), id="other codec"),
        pytest.param(b"V_VP8", b"V_\0P8", replace(VP8, codec=None), id="codec is no text"),
        pytest.param(b"V_VP8", b"V_A\0\0", replace(VP8, codec="V_A"), id="codec is padded"),
        pytest.param(b"\x16\x54\xae\x6b", b"\x19\x41\xa4\x69", None, id="no Tracks"),
        pytest.param(
            b"\x15\x49\xa9\x66",
            b"\x19\x41\xa4\x69",
            replace(VP8, duration_seconds=None),
            id="no Info",
        ),
    ],
)
def test_webm_states_only_what_its_headers_do(
    old: bytes, new: bytes, facts: MediaFacts | None
) -> None:
    assert facts_of(replaced(FILMS["VP8"], old, new)) == facts


def test_live_webm_has_no_duration() -> None:
    assert VP8
    assert facts_of(film("webm", "libvpx", live="1")) == replace(VP8, duration_seconds=None)


def wav(*chunks: tuple[bytes, bytes], size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
        for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


FORM = (b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 16_000, 2, 16))
HALF_A_SECOND = (b"data", bytes(8000))
UNKNOWN = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        pytest.param(wav(FORM, (b"LIST", bytes(300)), HALF_A_SECOND), 0.5, id="tags"),
        pytest.param(wav(FORM, (b"LIST", b"odd"), HALF_A_SECOND), 0.5, id="odd size"),
        pytest.param(wav((b"JUNK", bytes(28)), FORM, HALF_A_SECOND), 0.5, id="filler first"),
        pytest.param(
            wav(FORM, (b"fact", bytes(4)), HALF_A_SECOND, (b"id3 ", b"xy")), 0.5, id="more"
        ),
        pytest.param(wav(FORM, (b"LIST", b"ab"), HALF_A_SECOND, size=UNKNOWN), 0.5, id="streamed"),
        pytest.param(wav(FORM, (b"LIST", b"ab"), size=UNKNOWN), None, id="streamed, no sound"),
        pytest.param(wav(FORM, (b"LIST", b"ab")), None, id="no sound"),
        pytest.param(
            wav(FORM) + b"data" + struct.pack("<I", UNKNOWN), None, id="sound of unknown size"
        ),
        pytest.param(
            wav(FORM, (b"data\x90\x1f\0\0", b"")), None, id="more sound than the file declares"
        ),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 100_000])
def test_wav_duration_with_other_chunks(
    content: bytes, seconds: float | None, chunk_bytes: int
) -> None:
    facts = MediaFacts(duration_seconds=seconds, codec="pcm", has_audio=True)
    assert facts_of(content, chunk_bytes=chunk_bytes) == facts


def as_chained(content: bytes) -> bytes:
    return content + content.replace(content[14:18], b"abcd")


VBRI = b"VBRI" + bytes(10) + (50).to_bytes(4, "big")
FRAME_BYTES = 32_000 * 144 // 44_100


def table_frame(table: bytes, at: int) -> bytes:
    """Return an MP3 frame that contains a table of contents at this position."""
    frame = MP3[:4] + bytes(FRAME_BYTES - 4)
    return frame[:at] + table + frame[at + len(table) :]


SIDE = 4 + (17 if MP3[3] >> 6 == 3 else 32)
COUNTED = len(MP3) // FRAME_BYTES


def seconds(frames: int) -> float:
    return round(frames * 1152 / 44_100, 3)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(MP3, seconds(COUNTED), id="counted"),
        pytest.param(table_frame(VBRI, 36) + MP3, seconds(50), id="VBRI"),
        pytest.param(table_frame(b"Xing\0\0\0\1\0\0\0\x28", SIDE) + MP3, seconds(40), id="Xing"),
        pytest.param(
            table_frame(b"Xing\0\0\0\2\0\0\0\x28", SIDE) + MP3, seconds(COUNTED), id="no count"
        ),
        pytest.param(MP3 + b"TAG" + bytes(125), seconds(COUNTED), id="ID3v1"),
        pytest.param(MP3 + b"APETAGEX" + bytes(25), seconds(COUNTED), id="APE"),
        pytest.param(MP3 + b"garbage", None, id="garbage after the frames"),
        pytest.param(MP3 + b"\xff\xfb\x18\xc0" + bytes(50), None, id="another sampling rate"),
        pytest.param(MP3 + b"\xff\xfb\x00\xc0" + bytes(50), None, id="free bit rate"),
        pytest.param(b"ID3\4\0\x10\0\0\0\5" + bytes(15) + MP3, seconds(COUNTED), id="ID3 footer"),
    ],
)
def test_mp3_duration_is_stated_or_counted(content: bytes, expected: float | None) -> None:
    facts = MediaFacts(duration_seconds=expected, codec="mp3", has_audio=True)
    assert facts_of(content) == facts
    assert facts_of(content, chunk_bytes=3) == facts


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        pytest.param(
            as_chained(OPUS), MediaFacts(codec="opus", has_audio=True), id="one after another"
        ),
        pytest.param(OPUS + bytes(30), MediaFacts(codec="opus", has_audio=True), id="garbage"),
        pytest.param(
            OPUS[: OPUS.index(b"OggS", 60)], MediaFacts(codec="opus", has_audio=True), id="no sound"
        ),
        pytest.param(OPUS.replace(b"OpusHead", b"PcmHeads"), None, id="unknown codec"),
        pytest.param(SOUNDS["FLAC"][:41], None, id="FLAC header is cut off"),
        pytest.param(
            SOUNDS["FLAC"][:21]
            + bytes([SOUNDS["FLAC"][21] & 0xF0])
            + bytes(4)
            + SOUNDS["FLAC"][26:],
            MediaFacts(codec="flac", has_audio=True),
            id="FLAC of unknown length",
        ),
        pytest.param(b"ID3\4\0\0\0\0\0\0fLaC", None, id="tag and no frame"),
        pytest.param(b"ID3", None, id="tag that is cut off"),
    ],
)
def test_sound_of_uncertain_duration_has_none(content: bytes, facts: MediaFacts | None) -> None:
    assert facts_of(content) == facts
    assert facts_of(content, chunk_bytes=3) == facts


EVERY = [
    *FILMS.values(),
    *SOUNDS.values(),
    picture("JPEG"),
    picture("PNG"),
    picture("WEBP"),
    wav(FORM, (b"LIST", b"ab"), HALF_A_SECOND, size=UNKNOWN),
]
EDITS = st.lists(
    st.tuples(st.integers(0, 700), st.integers(0, 3), st.binary(max_size=9)), max_size=4
)


def checked(facts: MediaFacts | None) -> None:
    """Fail if PostgreSQL or a JSON parser would refuse the facts."""
    stored: dict[str, Any] = asdict(facts) if facts else {}
    assert "\\u0000" not in json.dumps(stored, allow_nan=False)
    assert stored.get("duration_seconds") is None or stored["duration_seconds"] > 0
    assert stored.get("frame_rate") is None or stored["frame_rate"] > 0


@given(content=st.sampled_from(EVERY), edits=EDITS, end=st.none() | st.integers(1, 5000))
def test_damaged_file_has_facts_or_is_incomplete(
    content: bytes, edits: list[tuple[int, int, bytes]], end: int | None
) -> None:
    content_type = content_type_of(content[:256])
    assert content_type
    for position, deleted, inserted in edits:
        content = content[:position] + inserted + content[position + deleted :]
    try:
        checked(parsed(PARSERS[content_type](), content[:end]))
    except IncompleteError:
        assert content_type not in {"audio/mpeg", "audio/ogg", "audio/flac"}


@given(
    content=st.binary(max_size=400), mark=st.sampled_from([b"OggS\0\2", b"ID3", b"\xff\xfb\x90"])
)
def test_sound_of_any_bytes_is_accepted(content: bytes, mark: bytes) -> None:
    for parse in (sounds.parse_mp3, sounds.parse_ogg, sounds.parse_flac):
        checked(parsed(parse(), mark + content))


@given(chunks=st.binary(max_size=200), declares_size=st.booleans(), form=st.booleans())
def test_wav_with_any_chunks_is_accepted(chunks: bytes, declares_size: bool, form: bool) -> None:
    body = b"WAVE" + (wav(FORM)[12:] if form else b"") + chunks
    size = len(body) if declares_size else UNKNOWN
    checked(facts_of(b"RIFF" + struct.pack("<I", size) + body))


@given(
    content=st.binary(max_size=300),
    kind=st.sampled_from([b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"]),
)
def test_webm_with_any_headers_is_accepted(content: bytes, kind: bytes) -> None:
    header = FILMS["VP8"][: FILMS["VP8"].index(b"\x18\x53\x80\x67")]
    elements = kind + b"\x01" + len(content).to_bytes(7, "big") + content
    unknown_size = b"\x01" + b"\xff" * 7
    cluster = b"\x1f\x43\xb6\x75\x80"
    checked(facts_of(header + b"\x18\x53\x80\x67" + unknown_size + elements + cluster))


def test_large_header_of_a_webm_is_skipped() -> None:
    content = FILMS["VP8"]
    at = content.index(b"\x18\x53\x80\x67")
    size = 5_000_000
    large = b"\x15\x49\xa9\x66\x01" + size.to_bytes(7, "big") + bytes(size)
    live = b"\x18\x53\x80\x67\x01" + b"\xff" * 7
    scan = Scan(ebml.parse())
    scan.feed(content[:at] + live)
    for start in range(0, len(large), 1000):
        scan.feed(large[start : start + 1000])
        assert len(scan._held) < 10_000  # pyright: ignore[reportPrivateUsage]
    scan.feed(content[at + 12 :])
    scan.finish()
    assert scan.structure.facts == VP8
