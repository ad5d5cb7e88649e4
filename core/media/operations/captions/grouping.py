"""Captions: words that are shown together."""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from core.media.operations.captions.style import CaptionStyle
from core.media.operations.captions.words import Word

_BRIDGED_SECONDS: Final = 0.2
"""A shorter gap between two captions would flicker."""
_SENTENCE_ENDS: Final = frozenset(".!?。؟।။")
_CLOSING: Final = frozenset({"Pe", "Pf"})
"""Categories of brackets and quotation marks after the end of a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What is shown from start to before end, in seconds."""

    words: Sequence[Word]
    start: float
    end: float


def group(
    words: Sequence[Word], style: CaptionStyle, fits: Callable[[Sequence[Word]], bool]
) -> list[Caption]:
    """Return the captions of words that are in order.

    fits: whether the words fit into the lines of one caption. One word always is a caption.
    """
    groups = list(_groups(words, style, fits))
    captions: list[Caption] = []
    for number, members in enumerate(groups):
        following = groups[number + 1][0].start if number + 1 < len(groups) else None
        end = min(members[-1].end, members[0].start + style.max_caption_duration)
        captions.append(Caption(words=members, start=members[0].start, end=bridged(end, following)))
    return captions


def bridged(end: float, following: float | None) -> float:
    """Return the end, or the start of what follows if the gap between them is short."""
    return following if following is not None and following - end < _BRIDGED_SECONDS else end


def text_of(words: Sequence[Word]) -> str:
    """Return the words in one line."""
    first, *rest = words
    return first.text + "".join(word.text if word.is_joined else f" {word.text}" for word in rest)


def _groups(
    words: Sequence[Word], style: CaptionStyle, fits: Callable[[Sequence[Word]], bool]
) -> Iterator[list[Word]]:
    members: list[Word] = []
    for word in words:
        if members and not _belongs(members, word, style, fits):
            yield members
            members = []
        members.append(word)
    if members:
        yield members


def _belongs(
    members: list[Word], word: Word, style: CaptionStyle, fits: Callable[[Sequence[Word]], bool]
) -> bool:
    together = [*members, word]
    return (
        not _ends_sentence(members[-1].text)
        and members[-1].speaker == word.speaker
        and len(together) <= style.words_per_caption
        and word.end - members[0].start <= style.max_caption_duration
        and len(text_of(together)) <= style.max_caption_chars
        and fits(together)
    )


def _ends_sentence(word: str) -> bool:
    text = unicodedata.normalize("NFKC", word)  # wide and narrow forms are one
    while text and (text[-1] in "\"'" or unicodedata.category(text[-1]) in _CLOSING):
        text = text[:-1]
    return text[-1:] in _SENTENCE_ENDS
