"""The text files of captions, as their readers understand them."""

from pathlib import Path

import av
import pysubs2
import pytest
from pysubs2 import SSAFile

from core.domain.media.content import MediaKind, require_kind
from core.media.operations.port import OperationError
from tests.media.captions.films import Captioner, film, word

WORDS = [
    word("Hello,", 0.1, 0.25),
    word("“world”!", 0.25, 0.5),
    word("Tom", 0.6, 0.7),
    word("&", 0.7, 0.75),
    word("<Jerry>", 0.75, 0.8),
]
LINES = ["Hello, “world”!", "Tom & <Jerry>"]


def cues(text: str, form: str) -> list[tuple[int, int, str]]:
    parsed = SSAFile.from_string(text, format_=form, keep_unknown_html_tags=True)
    return [(event.start, event.end, event.text) for event in parsed]


async def test_text_files_contain_the_words_and_times(caption: Captioner, plain: Path) -> None:
    made = await caption(plain, WORDS, burn=False, sidecar=["vtt", "srt", "ass"])
    assert list(made.files) == ["vtt", "srt", "ass"]
    times = [(100, 600), (600, 800)]
    expected = [(*time, line) for time, line in zip(times, LINES, strict=True)]
    assert cues(made.text("srt"), "srt") == expected
    escaped = LINES[1].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert cues(made.text("vtt"), "vtt") == [expected[0], (*times[1], escaped)]
    drawn = pysubs2.SSAFile.from_string(made.text("ass"), format_="ass")
    assert [event.plaintext for event in drawn] == LINES
    assert (drawn.info["PlayResX"], drawn.info["PlayResY"]) == ("180", "320")
    for name, path in made.files.items():
        content_type = require_kind(path.read_bytes()[:256], MediaKind.TEXT)
        assert content_type.endswith({"vtt": "vtt", "srt": "subrip", "ass": "ass"}[name])


async def test_video_keeps_its_length_and_sound(caption: Captioner, tmp_path: Path) -> None:
    video = film(tmp_path / "film.mp4", seconds=0.5, sound=True)
    made = await caption(video, [word("word", 0.1, 0.4)])
    with av.open(str(made.files["video"])) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        assert (picture.codec.name, picture.width, picture.height) == ("h264", 180, 320)
        assert (sound.codec.name, sound.rate, sound.channels) == ("aac", 48000, 2)
        assert sum(1 for _ in container.decode(video=0)) == 15
    assert made.warnings == []


async def test_same_captions_are_identical_bytes(caption: Captioner, plain: Path) -> None:
    words = [word("hello", 0.1, 0.4), word("👋", 0.4, 0.8)]
    made = [
        (await caption(plain, words, style={"preset": "tiktok"})).files["video"].read_bytes()
        for _ in range(2)
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "transcript",
    [b'{"words": [], "language": null}', b'{"words": [{"text": " ", "start": 0, "end": 1}]}'],
)
async def test_transcript_without_words_gives_a_plain_film(
    caption: Captioner, plain: Path, transcript: bytes
) -> None:
    made = await caption(plain, transcript, sidecar=["srt", "vtt"])
    assert made.shown == []
    assert len(made.frames) == 30
    assert made.warnings == ["words: there are no words in the film, so it has no captions."]
    assert [cues(made.text(form), form) for form in ("srt", "vtt")] == [[], []]
    assert require_kind(made.files["srt"].read_bytes(), MediaKind.TEXT) == "application/x-subrip"


@pytest.mark.parametrize(
    "transcript", [b"", b"[]", b"{}", b'{"words": [{"text": "a"}]}', b"WEBVTT", b"\x00\xff"]
)
async def test_file_that_is_no_transcript_is_refused(
    caption: Captioner, plain: Path, transcript: bytes
) -> None:
    with pytest.raises(OperationError, match=r"^words is not a transcript") as raised:
        await caption(plain, transcript)
    assert raised.value.pointer == "words"


async def test_transcript_of_a_provider_is_captioned(caption: Captioner, plain: Path) -> None:
    transcript = (
        '{"language": "ja", "durationSeconds": 1.0, "words": [{"text": "今日は", "start": 0.1, '
        '"end": 0.5, "speaker": "1"}, {"text": "世界", "start": 0.5, "end": 0.9, "speaker": "2"}]}'
    )
    made = await caption(plain, transcript.encode(), burn=False, sidecar=["srt", "ass"])
    assert [text for _, _, text in cues(made.text("srt"), "srt")] == ["今日は", "世界"]
    assert "Noto Sans CJK JP" in made.text("ass")
