"""Captions are on the frames of their words, and on no others."""

from pathlib import Path

import numpy as np
import pytest

from tests.media.captions.films import Captioner, film, like, word

YELLOW = (255, 255, 0)
WHITE = (255, 255, 255)


@pytest.mark.parametrize(
    ("rate", "start", "end", "first", "last"),
    [
        ("30", 0.2, 0.5, 6, 14),
        ("30", 0.2334, 0.5001, 8, 15),
        ("60", 0.2501, 0.4166, 16, 24),
        ("24000/1001", 0.0, 0.5, 0, 11),
    ],
)
async def test_captions_are_on_exactly_the_frames_of_their_words(
    caption: Captioner, tmp_path: Path, rate: str, start: float, end: float, first: int, last: int
) -> None:
    """The first frame at or after the start, and all before the end."""
    video = film(tmp_path / "film.mp4", rate=rate, seconds=0.8)
    made = await caption(video, [word("word", start, end)], style={"fontSize": 120})
    assert made.shown == list(range(first, last + 1))


async def test_short_gaps_between_captions_are_bridged(caption: Captioner, plain: Path) -> None:
    words = [word("one", 0.1, 0.2), word("two", 0.35, 0.4), word("three", 0.7, 0.8)]
    made = await caption(plain, words, style={"fontSize": 120, "wordsPerCaption": 1})
    assert made.shown == [*range(3, 12), *range(21, 24)]
    assert "00:00:00,100 --> 00:00:00,350\none" in made.text("srt")


async def test_shift_moves_all_words(caption: Captioner, plain: Path) -> None:
    words = [word("gone", 0.1, 0.2), word("cut", 0.4, 0.6), word("whole", 0.8, 1.0)]
    style = {"fontSize": 120, "wordsPerCaption": 1}
    made = await caption(plain, words, style=style, shift=-0.5)
    assert made.shown == [0, 1, 2, *range(9, 15)]
    assert made.warnings == [
        "words: 1 of 3 words are spoken before or after the film, which lasts 1.00 s, and are not "
        "shown."
    ]


async def test_spoken_word_has_its_color_while_it_is_spoken(
    caption: Captioner, plain: Path
) -> None:
    words = [word("left", 0.1, 0.3), word("right", 0.6, 0.8)]
    style = {"fontSize": 120, "highlightActiveWord": True, "activeWordScale": 1.3}
    frames = (await caption(plain, words, style=style)).frames
    yellow = [int(like(frame, YELLOW).sum()) for frame in frames]
    assert [number for number, count in enumerate(yellow) if count > 20] == [
        *range(3, 9),
        *range(18, 24),
    ]
    assert all(like(frames[number], WHITE).any() for number in range(3, 24))
    half = frames.shape[2] // 2
    assert like(frames[5, :, :half], YELLOW).sum() > 20 > like(frames[5, :, half:], YELLOW).sum()
    assert like(frames[20, :, half:], YELLOW).sum() > 20 > like(frames[20, :, :half], YELLOW).sum()


async def test_words_at_the_same_time_share_it(caption: Captioner, plain: Path) -> None:
    words = [word("one", 0.2, 0.2), word("two", 0.2, 0.8), word("three", 0.6, 5.0)]
    style = {"preset": "tiktok", "maxCaptionDuration": 10}
    made = await caption(plain, words, style=style)
    assert made.text("srt").split("\n\n") == [
        "1\n00:00:00,200 --> 00:00:00,400\none",
        "2\n00:00:00,400 --> 00:00:00,600\ntwo",
        "3\n00:00:00,600 --> 00:00:01,000\nthree\n",
    ]
    frames = made.frames
    assert made.shown == list(range(6, 30))
    assert not np.array_equal(frames[11], frames[12])
    assert np.abs(frames[8].astype(int) - frames[11].astype(int)).max() < 40


async def test_captions_shorter_than_a_frame_do_not_overlap(
    caption: Captioner, plain: Path
) -> None:
    words = [word("one", 0.101, 0.102), word("two", 0.103, 0.104), word("three", 0.501, 0.502)]
    style = {"fontSize": 120, "wordsPerCaption": 1}
    made = await caption(plain, words, style=style, sidecar=["ass"])
    assert made.shown == [4, *range(16, 17)]
    assert made.text("ass").count("Dialogue:") == 2
