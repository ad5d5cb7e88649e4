"""Whole files are accepted, and a file that is cut at any byte is not."""

import io
import struct
import wave
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from PIL import Image

from core.domain.media.containers.completeness import WholeFile
from core.domain.media.containers.facts import MediaFacts
from core.domain.media.content import SNIFF_BYTES, IncompleteError, content_type_of
from sandbox.files import renderer
from tests.support.media_files import boxes, film, picture, silence, talkie

pytestmark = pytest.mark.guarantee("G7")


def tone() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(8000)
        output.writeframes(bytes(1600))
    return file.getvalue()


def webp(mode: str, *, lossless: bool = False) -> bytes:
    file = io.BytesIO()
    picture = Image.new(mode, (31, 17))
    picture.putpixel((3, 3), (9,) * len(mode))
    picture.save(file, "WEBP", lossless=lossless)
    return file.getvalue()


def noisy_jpeg(width: int = 200) -> bytes:
    """Return a picture with details, so that its scan has stuffed bytes."""
    return renderer.picture(prompt="a fox", width=width, height=150, seed=3, image_format="jpeg")


def with_thumbnail() -> bytes:
    """Return a picture whose metadata contains another one, with its own end marker."""
    inner, outer = noisy_jpeg(16), noisy_jpeg()
    return outer[:2] + b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner + outer[2:]


def with_last_chunk(moov: bytes, offset: int) -> bytes:
    at = moov.index(b"stco") + 12
    return moov[:at] + struct.pack(">I", offset) + moov[at + 4 :]


MP4 = boxes(film("mp4", "libx264"))
LARGE_MDAT = b"\0\0\0\x01mdat" + (len(MP4[b"mdat"]) + 8).to_bytes(8, "big") + MP4[b"mdat"][8:]
ENDLESS_MDAT = b"\0\0\0\0" + MP4[b"mdat"][4:]
INDEX_FIRST = renderer.tiny_video(64, 64, 1)
FRAGMENTS = boxes(film("mp4", "libx264", movflags="frag_keyframe+empty_moov"))
# An index whose frames are in two boxes, of which the second one is missing.
MISSING_DATA = MP4[b"ftyp"] + with_last_chunk(MP4[b"moov"], 10**6) + MP4[b"mdat"]
WHOLE = {
    "jpeg": noisy_jpeg(),
    "jpeg with thumbnail": with_thumbnail(),
    "png": picture("PNG"),
    "webp": picture("WEBP"),
    "webp without loss": webp("RGB", lossless=True),
    "webp with transparency": webp("RGBA"),
    "wav": tone(),
    "wav with tags": silence("wav", "pcm_s16le", seconds=0.1, rate=8000, metadata={"title": "x"}),
    "mp4": film("mp4", "libx264"),
    "mp4 index first": INDEX_FIRST,
    "mp4 in fragments": film("mp4", "libx264", movflags="frag_keyframe+empty_moov"),
    "mp4 64-bit size": MP4[b"ftyp"] + LARGE_MDAT + MP4[b"moov"],
    "mov": film("mov", "libx264"),
    "webm": film("webm", "libvpx"),
}
CUT_UNSEEN = {"mp4 in fragments"}


async def scan(content: bytes, *, chunk_bytes: int = 100_000, like: bytes | None = None) -> bytes:
    return (await scanned(content, chunk_bytes=chunk_bytes, like=like))[0]


async def scanned(
    content: bytes, *, chunk_bytes: int = 100_000, like: bytes | None = None
) -> tuple[bytes, MediaFacts | None]:
    content_type = content_type_of((like or content)[:SNIFF_BYTES])
    assert content_type is not None

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), chunk_bytes):
            yield content[start : start + chunk_bytes]

    whole = WholeFile(content_type)
    return b"".join([chunk async for chunk in whole.read(chunks())]), whole.facts


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("chunk_bytes", [1, 7, 100_000])
async def test_whole_file_passes_unchanged(name: str, chunk_bytes: int) -> None:
    assert await scan(WHOLE[name], chunk_bytes=chunk_bytes) == WHOLE[name]


@pytest.mark.parametrize("name", sorted(WHOLE.keys() - CUT_UNSEEN))
async def test_file_cut_anywhere_is_incomplete(name: str) -> None:
    whole = WHOLE[name]
    for end in {*range(16, min(len(whole), 600)), *range(600, len(whole), 97), len(whole) - 1}:
        with pytest.raises(IncompleteError):
            await scan(whole[:end], like=whole)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(MP4[b"ftyp"] + MP4[b"mdat"], id="no index"),
        pytest.param(MP4[b"ftyp"] + MP4[b"moov"], id="no frames"),
        pytest.param(MP4[b"ftyp"] + MP4[b"moov"] * 2 + MP4[b"mdat"], id="two indexes"),
        pytest.param(MP4[b"ftyp"] + ENDLESS_MDAT + MP4[b"moov"], id="index in the frames"),
        pytest.param(b"".join(MP4.values()) + b"garbage!", id="a box after the last one"),
        pytest.param(
            b"".join(FRAGMENTS.values()) + b"abc", id="a header of another fragment is cut"
        ),
        pytest.param(INDEX_FIRST + b"\0\0\x10\0mdat" + b"frames", id="more frames are cut"),
        pytest.param(MISSING_DATA, id="frames of the index are missing"),
        pytest.param(MISSING_DATA + b"\0\0\x10", id="the header of the next frames is cut"),
        pytest.param(MP4[b"ftyp"] + b"\0\0\0\x07mdat", id="impossible size"),
    ],
)
async def test_mp4_with_wrong_boxes_is_incomplete(content: bytes) -> None:
    with pytest.raises(IncompleteError):
        await scan(content)


@pytest.mark.parametrize(
    "tail",
    [b"\0", b"abc", bytes(7), bytes(8), bytes(3000), b"\0\0\x10\0free" + bytes(20)],
    ids=["one zero", "text", "7 zeros", "8 zeros", "zeros", "a filler that is cut"],
)
@pytest.mark.parametrize("name", ["mp4", "mp4 index first"])
async def test_harmless_bytes_after_the_last_frame_pass(name: str, tail: bytes) -> None:
    content = WHOLE[name] + tail
    assert await scan(content) == content
    assert await scan(content, chunk_bytes=3) == content


async def test_mp4_whose_last_box_extends_to_the_end_passes() -> None:
    assert await scan(MP4[b"ftyp"] + MP4[b"moov"] + ENDLESS_MDAT)


async def test_live_webm_of_unknown_sizes_passes_and_cut_is_incomplete() -> None:
    live = film("webm", "libvpx", live="1")
    assert b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff" in live
    assert await scan(live)
    with pytest.raises(IncompleteError):
        await scan(live[:-1])


async def test_bytes_after_a_picture_pass() -> None:
    for name in ("jpeg", "png", "webp"):
        assert await scan(WHOLE[name] + b"\0" * 20)


SMALL = MediaFacts(
    width=64,
    height=64,
    duration_seconds=0.3,
    frame_rate=10.0,
    codec="h264",
    has_audio=False,
    faststart=False,
)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("mp4", SMALL),
        ("mp4 64-bit size", SMALL),
        ("mov", SMALL),
        ("mp4 index first", replace(SMALL, duration_seconds=1.0, frame_rate=24.0, faststart=True)),
        (
            "mp4 in fragments",
            replace(SMALL, duration_seconds=None, frame_rate=None, faststart=True),
        ),
        ("jpeg", MediaFacts(width=200, height=150, codec="jpeg")),
        ("jpeg with thumbnail", MediaFacts(width=200, height=150, codec="jpeg")),
        ("png", MediaFacts(width=64, height=64, codec="png")),
        ("webp", MediaFacts(width=64, height=64, codec="webp")),
        ("webp without loss", MediaFacts(width=31, height=17, codec="webp")),
        ("webp with transparency", MediaFacts(width=31, height=17, codec="webp")),
        ("wav", MediaFacts(duration_seconds=0.1, codec="pcm", has_audio=True)),
        ("wav with tags", MediaFacts(duration_seconds=0.1, codec="pcm", has_audio=True)),
        ("webm", replace(SMALL, codec="vp8", faststart=None)),
    ],
)
@pytest.mark.parametrize("chunk_bytes", [5, 100_000])
async def test_facts_are_those_of_the_headers(
    name: str, facts: MediaFacts | None, chunk_bytes: int
) -> None:
    assert (await scanned(WHOLE[name], chunk_bytes=chunk_bytes))[1] == facts


async def test_facts_of_a_file_with_sound() -> None:
    _, facts = await scanned(talkie())
    assert facts is not None
    assert (facts.has_audio, facts.codec) == (True, "h264")


async def test_damaged_index_has_no_facts() -> None:
    moov = MP4[b"moov"]
    _, facts = await scanned(MP4[b"ftyp"] + MP4[b"mdat"] + moov[:8] + b"\xff" * (len(moov) - 8))
    assert facts == MediaFacts(faststart=False)


async def test_codec_that_is_no_text_is_unknown() -> None:
    moov = MP4[b"moov"].replace(b"avc1", b"\0\0\0\1")
    _, facts = await scanned(MP4[b"ftyp"] + MP4[b"mdat"] + moov)
    assert facts == replace(SMALL, codec=None)
