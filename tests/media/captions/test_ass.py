"""The commands in the ASS file."""

from fractions import Fraction

import pytest

from core.media.operations.captions.ass import ass_file
from core.media.operations.captions.grouping import group
from core.media.operations.captions.layout import Page
from core.media.operations.captions.style import CaptionStyle
from core.media.operations.captions.words import Word


def events(text: str, *, language: str | None = None, **style: object) -> list[str]:
    """Return the texts of the events of words that last 0.2 s each, at 25 frames a second."""
    settings = CaptionStyle.model_validate({"wordsPerCaption": 12, **style})
    words = [
        Word(text=word, start=number / 5, end=(number + 1) / 5)
        for number, word in enumerate(text.split())
    ]
    page = Page(width=1080, height=1920, style=settings, family="Noto Sans")
    lines = ass_file(group(words, settings, page.fits), page, Fraction(25), language).splitlines()
    return [line.split(",,", 2)[2] for line in lines if line.startswith("Dialogue: ")]


def test_spoken_word_has_its_commands_alone() -> None:
    def spoken(weight: int | str = "normal") -> list[str]:
        return events(
            "a b",
            highlightActiveWord=True,
            activeWordColor="#FF000080",
            activeWordScale=1.5,
            fontWeight=weight,
        )

    red = "{\\1c&H0000FF&\\1a&H7F&\\fscx150\\fscy150}"
    assert spoken() == [f"{red}a{{\\r}} b", f"a {red}b{{\\r}}"]
    assert spoken(300)[0] == f"{{\\b300}}{red}a{{\\r}}{{\\b300}} b"


@pytest.mark.parametrize(
    ("animation", "commands"),
    [
        ("color", "{\\1c&H00FFFF&\\1a&H00&}"),
        ("glow", "{\\1c&H00FFFF&\\1a&H00&\\3c&H00FFFF&\\bord6\\blur6}"),
    ],
)
def test_animations_differ_in_their_commands(animation: str, commands: str) -> None:
    (first, _) = events(
        "a b", highlightActiveWord=True, activeWordScale=2, animationStyle=animation
    )
    assert first == f"{commands}a{{\\r}} b"


def test_animation_none_shows_no_spoken_word() -> None:
    assert events("a b", highlightActiveWord=True, animationStyle="none") == ["a b"]


@pytest.mark.parametrize(
    ("language", "family"),
    [
        (None, "Noto Sans CJK SC"),
        ("ja", "Noto Sans CJK JP"),
        ("kor", "Noto Sans CJK KR"),
        ("zh-Hans", "Noto Sans CJK SC"),
        ("zh_TW", "Noto Sans CJK TC"),
        ("yue", "Noto Sans CJK TC"),
        ("en", "Noto Sans CJK SC"),
    ],
)
def test_language_chooses_the_shapes_of_chinese_letters(language: str | None, family: str) -> None:
    (text,) = events("骨", language=language)
    assert text.startswith(f"{{\\fn{family}\\fs")


def test_commands_in_words_are_escaped() -> None:
    joiner = "\u2060"
    assert events(r"{\b1}x a\Nb") == [f"\\{{\\{joiner}b1\\}}x a\\{joiner}Nb"]
