"""Words on the time line of a film, and the captions that they form."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.media.operations.captions.grouping import group, text_of
from core.media.operations.captions.layout import Page
from core.media.operations.captions.style import CaptionStyle
from core.media.operations.captions.words import Word, place

TIMES = st.floats(min_value=-20, max_value=20, allow_nan=False)
TEXTS = st.sampled_from(["a", "word", " ", "", "漢字仮名交じり文の長い文章です", "\x00", "🚀"])


def words_of(text: str, *, seconds: float = 0.3) -> list[Word]:
    """Return words that follow each other."""
    return [
        Word(text=word, start=number * seconds, end=(number + 1) * seconds)
        for number, word in enumerate(text.split())
    ]


def grouped(words: Sequence[Word], **style: object) -> list[str]:
    settings = CaptionStyle.model_validate({"wordsPerCaption": 12, **style})
    page = Page(width=1080, height=1920, style=settings, family="Noto Sans")
    return [text_of(caption.words) for caption in group(words, settings, page.fits)]


@given(st.lists(st.tuples(TEXTS, TIMES, TIMES), max_size=12), TIMES)
def test_placed_words_are_in_order_inside_the_film(
    spoken: list[tuple[str, float, float]], shift: float
) -> None:
    words = [Word(text=text, start=start, end=end) for text, start, end in spoken]
    placed, outside = place(words, shift=shift, seconds=10)
    assert outside <= len(spoken) * 2
    ends = [0.0, *(word.end for word in placed[:-1])]
    for word, latest in zip(placed, ends, strict=False):
        assert latest <= word.start + 1e-9
        assert word.start < word.end <= 10 + 1e-9
        assert word.text.strip()


def test_words_without_length_last_by_their_letters() -> None:
    words = [Word(text="abcd", start=1, end=1), Word(text="ef", start=2, end=1.5)]
    placed, _ = place(words, shift=0, seconds=10)
    assert [(word.start, round(word.end, 3)) for word in placed] == [(1, 1.32), (2, 2.16)]


def test_words_after_the_film_are_counted() -> None:
    words = [Word(text="in", start=1, end=2), Word(text="out", start=3, end=4)]
    placed, outside = place(words, shift=0, seconds=1.5)
    assert ([(word.text, word.end) for word in placed], outside) == ([("in", 1.5)], 1)


def test_sentences_without_spaces_are_cut_into_pieces() -> None:
    """Word times that were made of characters have whole sentences as words."""
    sentence = "今日はとても良い天気ですね。明日も晴れるでしょうか。"
    placed, _ = place([Word(text=sentence, start=0, end=5)], shift=0, seconds=10)
    assert max(len(word.text) for word in placed) <= 10
    assert text_of(placed) == sentence
    assert placed[0].start == 0
    assert placed[-1].end == pytest.approx(5)
    assert any(word.text.endswith("。") for word in placed[:-1])


@pytest.mark.parametrize(
    ("text", "style", "expected"),
    [
        ("One two. Three four", {}, ["One two.", "Three four"]),
        ('He said "no." Then left', {}, ['He said "no."', "Then left"]),
        ("a b c d e", {"wordsPerCaption": 2}, ["a b", "c d", "e"]),
        ("aaaa bbbb cccc", {"maxCaptionChars": 9}, ["aaaa bbbb", "cccc"]),
        ("a b c d", {"maxCaptionDuration": 0.6}, ["a b", "c d"]),
        ("元気\uff1f はい。 そう", {}, ["元気\uff1f", "はい。", "そう"]),
    ],
)
def test_words_are_grouped_by_sentence_and_limits(
    text: str, style: dict[str, object], expected: list[str]
) -> None:
    assert grouped(words_of(text), **style) == expected


def test_speakers_have_captions_of_their_own() -> None:
    words = [
        Word(text="Yes", start=0, end=0.2, speaker="1"),
        Word(text="No", start=0.2, end=0.4, speaker="2"),
    ]
    assert grouped(words) == ["Yes", "No"]


def test_captions_have_at_most_the_allowed_lines() -> None:
    style = CaptionStyle.model_validate({"fontSize": 150, "maxLines": 2, "wordsPerCaption": 12})
    page = Page(width=1080, height=1920, style=style, family="Noto Sans")
    captions = group(words_of("several rather longish words " * 3), style, page.fits)
    layouts = [page.arrange(caption.words) for caption in captions]
    assert {len(layout.lines) for layout in layouts} == {2}
    assert {layout.size for layout in layouts} == {150}


def test_lines_of_a_caption_are_about_equal() -> None:
    style = CaptionStyle.model_validate({"fontSize": 150})
    page = Page(width=1080, height=1920, style=style, family="Noto Sans")
    lines = page.arrange(words_of("aaaa bbbb cccc dddd eeee ffff")).lines
    assert [len(line) for line in lines] == [3, 3]
