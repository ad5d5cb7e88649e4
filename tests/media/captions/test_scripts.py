"""Every script has its own letters, whatever fonts the machine has."""

import os
from pathlib import Path

import numpy as np
import pytest

from core.media.fonts.measuring import width_of
from core.media.fonts.packaged import MONO, SANS, SERIF
from tests.media.captions.films import Captioner, Mask, box_of, drawn, like, word

NO_FONT_HAS_IT = "\U0010fffd"
LETTERS = "AЖΩ你あ안مשनสবதకക🚀😀❤"


def cut(mask: Mask) -> Mask:
    box = box_of(mask)
    return mask[box.top : box.bottom, box.left : box.right]


@pytest.mark.parametrize("font", ["Arial", "Times New Roman"])
async def test_letters_of_every_script_are_drawn(
    caption: Captioner, plain: Path, font: str
) -> None:
    letters = [NO_FONT_HAS_IT, "\ue000", *LETTERS]
    words = [word(text, n / 30, (n + 1) / 30) for n, text in enumerate(letters)]
    style = {"fontSize": 200, "fontFamily": font, "wordsPerCaption": 1, "outlineWidth": 0}
    frames = (await caption(plain, words, style=style)).frames
    shapes = [cut(drawn(frame)) for frame in frames[: len(letters)]]
    missing, also_missing, *present = shapes
    assert np.array_equal(missing, also_missing), "a missing letter is a box"
    for number, shape in enumerate(present):
        assert not np.array_equal(shape, missing), LETTERS[number]
        assert not any(np.array_equal(shape, other) for other in present[:number]), LETTERS[number]


@pytest.mark.parametrize(
    "words", [["مرحبا", "أيها", "العالم"], ["שלום", "לכל", "העולם"], ["123", "שלום", "abc"]]
)
async def test_right_to_left_words_follow_each_other(
    caption: Captioner, plain: Path, words: list[str]
) -> None:
    spoken = [word(text, n * 0.1, (n + 1) * 0.1) for n, text in enumerate(words)]
    style = {"fontSize": 130, "highlightActiveWord": True}
    frames = (await caption(plain, spoken, style=style)).frames
    places = [box_of(like(frames[3 * n + 1], (255, 255, 0), tolerance=90)).middle for n in range(3)]
    assert places == sorted(places, reverse=True)


@pytest.mark.parametrize(("family", "weight"), [(SANS, 700), (SERIF, 400), (MONO, 400)])
async def test_measured_widths_are_those_that_are_drawn(
    caption: Captioner, plain: Path, family: str, weight: int
) -> None:
    texts = ["Width, (n)", "漢字かな", "नमस्ते", "สวัสดี", "مرحبا", "🚀😀"]
    words = [word(text, n * 0.1, (n + 1) * 0.1) for n, text in enumerate(texts)]
    style = {"fontSize": 150, "fontFamily": family, "fontWeight": weight, "outlineWidth": 0}
    made = await caption(plain, words, style={**style, "wordsPerCaption": 1})
    for number, text in enumerate(texts):
        box = box_of(drawn(made.frames[3 * number + 1]))
        measured = width_of(text, family=family, weight=weight, size=25)
        assert 0.75 * measured < box.right - box.left < measured + 2, text


async def test_commands_in_words_are_shown_as_they_are(caption: Captioner, plain: Path) -> None:
    texts = [r"{\fs200}", r"a\Nb", "{hidden}", "tab\tline\nend"]
    words = [word(text, n * 0.1, (n + 1) * 0.1) for n, text in enumerate(texts)]
    style = {"fontSize": 120, "wordsPerCaption": 1, "outlineWidth": 0}
    frames = (await caption(plain, words, style=style)).frames
    for number, text in enumerate(texts):
        box = box_of(drawn(frames[3 * number + 1]))
        measured = width_of(" ".join(text.split()), family=SANS, weight=400, size=20)
        assert box.right - box.left == pytest.approx(measured, abs=4), text
        assert box.height <= 20, text


async def test_fonts_of_the_machine_are_not_used(
    caption: Captioner, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [word("word", 0, 0.1)]
    made = await caption(plain, words, style={"fontFamily": "DejaVu Sans", "fontSize": 120})
    assert made.warnings == [
        'style/fontFamily: the font "DejaVu Sans" is not available; Noto Sans is used.'
    ]
    monkeypatch.setitem(os.environ, "FONTCONFIG_FILE", "/etc/fonts/fonts.conf")
    default = await caption(plain, words, style={"fontSize": 120})
    assert np.array_equal(made.frames, default.frames)
