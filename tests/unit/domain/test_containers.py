"""Whole files are accepted, and a file that is cut at any byte is not."""

import io
import struct
import wave
from collections.abc import AsyncIterator

import pytest

from core.domain.containers.completeness import whole_file
from core.domain.media import SNIFF_BYTES, IncompleteError, content_type_of
from sandbox.files import renderer
from tests.support.media_files import film, picture

pytestmark = pytest.mark.guarantee("G7")


def tone() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as output:
        output.setnchannels(1)
        output.setsampwidth(2)
        output.setframerate(8000)
        output.writeframes(bytes(1600))
    return file.getvalue()


def noisy_jpeg(width: int = 200) -> bytes:
    """Return a picture with details, so that its scan has stuffed bytes."""
    return renderer.picture(prompt="a fox", width=width, height=150, seed=3, image_format="jpeg")


def with_thumbnail() -> bytes:
    """Return a picture whose metadata contains another one, with its own end marker."""
    inner, outer = noisy_jpeg(16), noisy_jpeg()
    return outer[:2] + b"\xff\xe1" + struct.pack(">H", len(inner) + 2) + inner + outer[2:]


def boxes(content: bytes) -> dict[bytes, bytes]:
    """Return the top-level boxes of an MP4 by their type."""
    found: dict[bytes, bytes] = {}
    while content:
        size = int.from_bytes(content[:4], "big")
        found[content[4:8]] = content[:size]
        content = content[size:]
    return found


MP4 = boxes(film("mp4", "libx264"))
LARGE_MDAT = b"\0\0\0\x01mdat" + (len(MP4[b"mdat"]) + 8).to_bytes(8, "big") + MP4[b"mdat"][8:]
ENDLESS_MDAT = b"\0\0\0\0" + MP4[b"mdat"][4:]
WHOLE = {
    "jpeg": noisy_jpeg(),
    "jpeg with thumbnail": with_thumbnail(),
    "png": picture("PNG"),
    "webp": picture("WEBP"),
    "wav": tone(),
    "mp4": film("mp4", "libx264"),
    "mp4 index first": renderer.tiny_video(64, 64, 1),
    "mp4 in fragments": film("mp4", "libx264", movflags="frag_keyframe+empty_moov"),
    "mp4 64-bit size": MP4[b"ftyp"] + LARGE_MDAT + MP4[b"moov"],
    "mov": film("mov", "libx264"),
    "webm": film("webm", "libvpx"),
}
CUT_UNSEEN = {"mp4 in fragments"}


async def scan(content: bytes, *, chunk_bytes: int = 100_000, like: bytes | None = None) -> bytes:
    content_type = content_type_of((like or content)[:SNIFF_BYTES])
    assert content_type is not None

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), chunk_bytes):
            yield content[start : start + chunk_bytes]

    return b"".join([chunk async for chunk in whole_file(chunks(), content_type)])


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
        pytest.param(b"".join(MP4.values()) + b"abc", id="bytes after the last box"),
        pytest.param(MP4[b"ftyp"] + b"\0\0\0\x07mdat", id="impossible size"),
    ],
)
async def test_mp4_with_wrong_boxes_is_incomplete(content: bytes) -> None:
    with pytest.raises(IncompleteError):
        await scan(content)


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
