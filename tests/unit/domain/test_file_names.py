"""File names of downloads, and their header."""

from email.message import Message
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.media.file_names import (
    MAX_FILE_NAME,
    check_file_name,
    content_disposition,
    download_name,
)


def name_of(requested: str, *, content_type: str = "video/mp4", output_number: int = 0) -> str:
    return download_name(
        requested,
        owner_id="exec_1",
        kind="video",
        output_number=output_number,
        content_type=content_type,
    )


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd", "a\\b", "a\r\nSet-Cookie: x=1", "a\x00b", "a\x7fb", "a\x85b", "..", ". .", "   ",
        "\u202egpj.exe", "a\u2028b", "a\ud800b", "x" * (MAX_FILE_NAME + 1),
    ],
)  # fmt: skip
def test_unsafe_file_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_file_name(name)


@pytest.mark.parametrize(
    "name", ["", "film.mp4", "Größe & Co. (2).mp4", 'a "quoted" one', "映画.mp4", ".hidden", "👩‍🚀"]
)
def test_displayable_file_names_are_accepted(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize(
    ("requested", "content_type", "name"),
    [
        ("", "video/mp4", "exec_1-video.mp4"),
        ("film", "video/mp4", "film.mp4"),
        ("film.MP4", "video/mp4", "film.MP4"),
        ("film.exe", "video/mp4", "film.exe.mp4"),
        ("film.mp4", "video/webm", "film.mp4.webm"),
        (" film. ", "video/quicktime", "film.mov"),
        ("film", "application/x-unknown", "film"),
    ],
)
def test_download_name_ends_in_the_files_extension(
    requested: str, content_type: str, name: str
) -> None:
    assert name_of(requested, content_type=content_type) == name


def test_default_names_of_several_outputs_differ() -> None:
    assert [name_of("", output_number=number) for number in range(2)] == [
        "exec_1-video.mp4",
        "exec_1-video-2.mp4",
    ]


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("film.mp4", 'attachment; filename="film.mp4"'),
        (
            'a"b\\100%.mp4',
            "attachment; filename=\"a_b_100_.mp4\"; filename*=UTF-8''a%22b%5C100%25.mp4",
        ),
        ("é';x.mp4", "attachment; filename=\"_';x.mp4\"; filename*=UTF-8''%C3%A9%27%3Bx.mp4"),
    ],
)
def test_content_disposition_follows_rfc_6266(name: str, header: str) -> None:
    assert content_disposition(name) == header


@given(st.text(max_size=MAX_FILE_NAME))
def test_content_disposition_has_two_parameters_and_no_control_character(name: str) -> None:
    try:
        check_file_name(name)
    except ValueError:
        return
    header = content_disposition(name_of(name))
    assert header.isascii()
    assert header.isprintable()
    message = Message()
    message["Content-Disposition"] = header
    parsed = message.get_params(header="Content-Disposition")
    assert parsed is not None
    assert {key for key, _ in parsed} <= {"attachment", "filename"}
    _, starred, encoded = header.partition("; filename*=UTF-8''")
    assert (unquote(encoded) if starred else header.split('"')[1]) == name_of(name)
