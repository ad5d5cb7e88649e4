from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.media.content import (
    CONTENT_TYPES,
    SNIFF_BYTES,
    MediaError,
    MediaKind,
    UnknownContentError,
    WrongContentError,
    content_type_of,
    disposition_of,
    kind_of,
    require_kind,
)
from tests.support.media_files import film, picture

pytestmark = pytest.mark.guarantee("G7")


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    brands = major + b"\x00\x00\x02\x00" + b"".join(compatible)
    return (len(brands) + 8).to_bytes(4, "big") + b"ftyp" + brands + b"\x00\x00\x00\x08free"


@pytest.mark.parametrize(
    ("form", "expected"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")]
)
def test_content_type_of_real_pictures(form: str, expected: str) -> None:
    assert content_type_of(picture(form)[:SNIFF_BYTES]) == expected


@pytest.mark.parametrize(
    ("container", "codec", "expected"),
    [
        ("mp4", "libx264", "video/mp4"),
        ("mov", "libx264", "video/quicktime"),
        ("webm", "libvpx", "video/webm"),
        ("matroska", "libx264", None),
        ("avi", "libx264", None),
        ("mpegts", "libx264", None),
    ],
)
def test_content_type_of_real_videos(container: str, codec: str, expected: str | None) -> None:
    assert content_type_of(film(container, codec)[:SNIFF_BYTES]) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        *[
            (ftyp(brand), "video/mp4")
            for brand in (b"isom", b"iso5", b"iso6", b"mp42", b"avc1", b"dash", b"M4V ")
        ],
        (ftyp(b"qt  ", b"isom", b"mp42"), "video/quicktime"),
        (ftyp(b"M4A ", b"isom"), "audio/mp4"),
        (ftyp(b"avif", b"mif1"), None),
        (ftyp(b"heic", b"mif1"), None),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", None),
        (b"ID3\x04" + bytes(20), "audio/mpeg"),
        (b"\xff\xfb\x90\x44" + bytes(20), "audio/mpeg"),
        (b"OggS" + bytes(20), "audio/ogg"),
        (b"fLaC" + bytes(20), "audio/flac"),
        ("\ufeff<html>".encode("utf-16-le"), None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", None),
        (b"<!doctype html>", None),
        (b'{"detail":"expired"}', None),
        (b"%PDF-1.7", None),
        (b"GIF89a", "image/gif"),
        (b"", None),
        (b"\x00\x00\x00\x20ftyp", None),
    ],
)
def test_content_type_of_heads(head: bytes, expected: str | None) -> None:
    assert content_type_of(head) == expected


@given(st.binary(max_size=SNIFF_BYTES))
def test_content_type_of_any_bytes_is_allowed_or_none(head: bytes) -> None:
    content_type = content_type_of(head)
    assert content_type is None or content_type in frozenset[str]().union(*CONTENT_TYPES.values())


def test_content_types_allow_no_scripts_and_match_their_kind() -> None:
    for kind in MediaKind:
        assert CONTENT_TYPES[kind]
        if kind not in (MediaKind.TRANSCRIPT, MediaKind.TEXT):
            assert all(content_type.startswith(f"{kind}/") for content_type in CONTENT_TYPES[kind])
    assert "image/svg+xml" not in CONTENT_TYPES[MediaKind.IMAGE]


def test_require_kind_returns_the_type_or_reports_the_mismatch() -> None:
    assert require_kind(picture("PNG"), MediaKind.IMAGE) == "image/png"
    with pytest.raises(WrongContentError, match="expected video, the file is image/png") as raised:
        require_kind(picture("PNG"), MediaKind.VIDEO)
    assert not raised.value.retryable_for_minutes
    with pytest.raises(UnknownContentError, match="3c 21 64 6f 63"):
        require_kind(b"<!doctype html>", MediaKind.VIDEO)
    with pytest.raises(UnknownContentError, match="the file is empty"):
        require_kind(b"", MediaKind.VIDEO)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"WEBVTT\n\n", "text/vtt"),
        (b"[Script Info]\nScriptType: v4.00+\n", "text/x-ass"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nhi\n", "application/x-subrip"),
        (b"1\r\n00:00:01,000 --> 00:00:02,000\r\nhi\r\n", "application/x-subrip"),
        (b"\n", "application/x-subrip"),
    ],
)
def test_captions_are_known_where_captions_are_expected(head: bytes, expected: str) -> None:
    assert require_kind(head, MediaKind.TEXT) == expected
    assert content_type_of(head) is None
    for other in (MediaKind.TRANSCRIPT, MediaKind.VIDEO):
        with pytest.raises(UnknownContentError):
            require_kind(head, other)


@pytest.mark.parametrize("head", [b"", b"<html>", b'{"words": []}', b"1\nnot a time\n"])
def test_other_texts_are_no_captions(head: bytes) -> None:
    with pytest.raises(UnknownContentError):
        require_kind(head, MediaKind.TEXT)


def test_captions_are_served_as_attachments_only() -> None:
    for kind, content_types in CONTENT_TYPES.items():
        expected = "attachment" if kind is MediaKind.TEXT else "inline"
        assert {disposition_of(content_type) for content_type in content_types} == {expected}
        assert {kind_of(content_type) for content_type in content_types} == {kind}


def test_media_errors_are_all_documented_in_the_tree() -> None:
    """Each is listed with the retry behaviour of its place in the tree."""
    drawn = {
        line.split("── ")[1].split()[0]: line.split("── ")[1].split()[1]
        for line in (MediaError.__doc__ or "").splitlines()
        if "── " in line
    }
    errors = [*MediaError.__subclasses__()]
    errors += [error for parent in errors for error in parent.__subclasses__()]
    assert drawn == {
        error.__name__: "retryable"
        if error.retryable
        else "minutes"
        if error.retryable_for_minutes
        else "final"
        for error in errors
    }
