# pyright: reportUnknownMemberType=false
"""An index that is moved to the front leaves every byte and every frame as it was."""

import hashlib
import io
import struct
from collections.abc import AsyncIterator

import av
import pytest

from core.domain.media.containers.completeness import WholeFile
from core.domain.media.containers.index import LateIndex, UnmovableIndexError, moved
from core.domain.media.content import SNIFF_BYTES, content_type_of
from tests.support.media_files import boxes, film, talkie

pytestmark = pytest.mark.guarantee("G7")

FILM = film("mp4", "libx264")
MP4 = boxes(FILM)


def large_offsets(content: bytes) -> bytes:
    """Return the file with 64-bit chunk offsets, as films above 4 GiB have them."""
    start = content.index(b"stco") - 4
    size, count = struct.unpack_from(">I8xI", content, start)
    offsets = struct.unpack_from(f">{count}I", content, start + 16)
    table = struct.pack(f">I4sII{count}Q", 16 + 8 * count, b"co64", 0, count, *offsets)
    patched = bytearray(content[:start] + table + content[start + size :])
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = content.index(name) - 4
        struct.pack_into(">I", patched, at, struct.unpack_from(">I", patched, at)[0] + 4 * count)
    return bytes(patched)


LARGE_MDAT = b"\0\0\0\x01mdat" + (len(MP4[b"mdat"]) + 8).to_bytes(8, "big") + MP4[b"mdat"][8:]
# The header of 64 bits takes the eight bytes of the filler, so that no frame moves.
LARGE_SIZE = MP4[b"ftyp"] + LARGE_MDAT + MP4[b"moov"]
LATE = {
    "mp4": FILM,
    "mov": film("mov", "libx264"),
    "with sound": talkie(),
    "64-bit size": LARGE_SIZE,
    "64-bit offsets": large_offsets(FILM),
    "padding at the end": FILM + bytes(30),
    "64-bit index size": FILM[: -len(MP4[b"moov"])]
    + b"\0\0\0\x01moov"
    + (len(MP4[b"moov"]) + 8).to_bytes(8, "big")
    + MP4[b"moov"][8:],
}


async def late_index(content: bytes) -> LateIndex | None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 500):
            yield content[start : start + 500]

    content_type = content_type_of(content[:SNIFF_BYTES])
    assert content_type is not None
    whole = WholeFile(content_type)
    async for _ in whole.read(chunks()):
        pass
    return whole.late_index


async def index_first(content: bytes) -> bytes:
    index = await late_index(content)
    assert index is not None
    new = moved(content[index.content : index.end], index)
    return (
        content[: index.target] + new + content[index.target : index.start] + content[index.end :]
    )


def frames(content: bytes) -> list[tuple[str, int | None, str]]:
    """Return each packet's and each decoded frame's stream, time and digest."""
    seen: list[tuple[str, int | None, str]] = []
    with av.open(io.BytesIO(content), "r") as container:
        for packet in container.demux():
            kind = packet.stream.type
            seen.append((kind, packet.pts, hashlib.sha256(bytes(packet)).hexdigest()))
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    shown = bytes(frame.reformat(format="rgb24").planes[0])
                else:
                    assert isinstance(frame, av.AudioFrame)
                    shown = bytes(frame.planes[0])[: 4 * frame.samples]
                seen.append((f"decoded {kind}", frame.pts, hashlib.sha256(shown).hexdigest()))
    return seen


@pytest.mark.parametrize("name", LATE)
async def test_moved_index_keeps_every_frame(name: str) -> None:
    content = LATE[name]
    moved_content = await index_first(content)
    assert boxes(moved_content)[b"mdat"] == boxes(content)[b"mdat"]
    assert moved_content.index(b"moov") < moved_content.index(b"mdat")
    before = frames(content)
    assert frames(moved_content) == before
    assert len([kind for kind, *_ in before if kind == "decoded video"]) >= 1
    assert await late_index(moved_content) is None


def with_box(kind: bytes, position: str = "moov") -> bytes:
    """Return a film with one more empty box, at the end of `moov` or before it."""
    box = struct.pack(">I4s", 8, kind)
    if position == "file":
        return MP4[b"ftyp"] + MP4[b"free"] + MP4[b"mdat"] + box + MP4[b"moov"]
    index = MP4[b"moov"]
    return (
        MP4[b"ftyp"] + MP4[b"free"] + MP4[b"mdat"]
        + struct.pack(">I", len(index) + 8) + index[4:] + box
    )  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(MP4[b"ftyp"] + MP4[b"moov"] + MP4[b"mdat"], id="index first"),
        pytest.param(film("mp4", "libx264", movflags="frag_keyframe+empty_moov"), id="fragments"),
        pytest.param(with_box(b"uuid", "file"), id="signature"),
        pytest.param(with_box(b"meta", "file"), id="items"),
        pytest.param(
            MP4[b"ftyp"] + MP4[b"free"] + MP4[b"mdat"] + b"\0\0\0\0" + MP4[b"moov"][4:],
            id="index without size",
        ),
    ],
)
async def test_file_of_another_layout_is_left_as_it_is(content: bytes) -> None:
    assert await late_index(content) is None


@pytest.mark.parametrize("kind", [b"cmov", b"iloc", b"saio", b"mvex"])
async def test_index_with_other_positions_is_not_moved(kind: bytes) -> None:
    content = with_box(kind)
    index = await late_index(content)
    assert index is not None
    with pytest.raises(UnmovableIndexError, match=kind.decode()):
        moved(content[index.content : index.end], index)


async def test_index_whose_chunks_are_elsewhere_is_not_moved() -> None:
    content = bytearray(LATE["mp4"])
    struct.pack_into(">I", content, content.index(b"stco") + 12, 4)
    index = await late_index(bytes(content))
    assert index is not None
    with pytest.raises(UnmovableIndexError, match="outside"):
        moved(bytes(content[index.content : index.end]), index)


def test_offset_that_needs_more_than_32_bits_is_not_moved() -> None:
    content = LATE["mp4"]
    at = content.index(b"moov") - 4
    moov = bytearray(content[at + 8 :])
    struct.pack_into(">I", moov, moov.index(b"stco") + 12, 2**32 - 10)
    index = LateIndex(target=32, start=at, content=at + 8, end=at, media_start=0, media_end=2**32)
    with pytest.raises(UnmovableIndexError, match="too large"):
        moved(bytes(moov), index)
