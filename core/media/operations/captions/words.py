"""The spoken words with their times, from a list or a transcript.json."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.media.operations.port import OperationError
from core.media.operations.references import OperationModel

MAX_WORDS: Final = 10_000
"""An hour of fast speech."""
MAX_WORD_CHARS: Final = 500
MAX_TRANSCRIPT_BYTES: Final = 8 * 1024**2
_LETTER_SECONDS: Final = 0.08
"""Assumed for a word without a length."""
_PIECE_CHARS: Final = 10
_HAN: Final = frozenset({"CJK", "HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH"})
_UNSPACED: Final = _HAN | {"THAI", "LAO", "KHMER", "MYANMAR"}
"""First words of Unicode names, in scripts that put no spaces between words."""
_STOPS: Final = frozenset(",.:;!?。、")


class CaptionWord(OperationModel):
    """A word of the list in the parameters. start, end: in seconds."""

    text: Annotated[str, Field(min_length=1, max_length=MAX_WORD_CHARS)]
    start: Annotated[float, Field(ge=0, le=36_000)]
    end: Annotated[float, Field(ge=0, le=36_000)]
    speaker: Annotated[str, Field(max_length=100)] | None = None


class _TranscriptWord(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    text: Annotated[str, Field(max_length=MAX_WORD_CHARS)]
    start: float
    end: float
    speaker: str | None = None


class _Transcript(BaseModel):
    model_config = ConfigDict(extra="ignore")

    words: Annotated[list[_TranscriptWord], Field(max_length=MAX_WORDS)]
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word with its place on the film's time line, in seconds.

    is_joined: no space separates it from the word before.
    """

    text: str
    start: float
    end: float
    speaker: str | None = None
    is_joined: bool = False


def read_transcript(content: bytes) -> tuple[list[Word], str | None]:
    """Return the words and the language of a transcript.json. Raises OperationError."""
    if len(content) > MAX_TRANSCRIPT_BYTES:
        raise OperationError("words has more than 8 MiB", pointer="words")
    try:
        transcript = _Transcript.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        location = "/".join(map(str, first["loc"])) or "the file"
        raise OperationError(
            f'words is not a transcript, {{"words": [{{"text", "start", "end"}}]}}: {location}: '
            f"{first['msg']}",
            pointer="words",
        ) from None
    words = [
        Word(text=word.text, start=word.start, end=word.end, speaker=word.speaker)
        for word in transcript.words
    ]
    return words, transcript.language


def place(words: Sequence[Word], *, shift: float, seconds: float) -> tuple[list[Word], int]:
    """Return the words in order on a film's time line, and how many of them lie outside of it.

    Each has text, begins in the film, lasts, and ends before the next one begins.
    """
    written = [
        replace(piece, start=piece.start + shift, end=piece.end + shift)
        for word in words
        for piece in _pieces(word)
    ]
    written.sort(key=lambda word: word.start)
    inside = [
        word for word in written if word.start < seconds and (word.start >= 0 or word.end > 0)
    ]
    starts = [
        (start, list(members))
        for start, members in groupby(inside, key=lambda word: max(0.0, word.start))
    ]
    latest_ends = [start for start, _ in starts] + [seconds]
    placed = [
        word
        for number, (start, members) in enumerate(starts)
        for word in _side_by_side(members, start, latest_ends[number + 1])
    ]
    return _joined(placed), len(written) - len(inside)


def _side_by_side(words: Sequence[Word], start: float, latest: float) -> Iterator[Word]:
    """Yield words that begin together: they share the time until the next word begins."""
    end = max(word.end for word in words)
    if end <= start:
        end = start + _LETTER_SECONDS * sum(len(word.text) for word in words)
    share = (min(end, latest) - start) / len(words)
    for number, word in enumerate(words):
        begins = start + number * share
        yield replace(word, start=begins, end=begins + share)


def _joined(words: Sequence[Word]) -> list[Word]:
    return [
        replace(word, is_joined=word.is_joined or _touches(words[number - 1], word))
        if number
        else replace(word, is_joined=False)
        for number, word in enumerate(words)
    ]


def _touches(before: Word, after: Word) -> bool:
    return _script(before.text[-1]) in _UNSPACED and _script(after.text[0]) in _UNSPACED


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _pieces(word: Word) -> Iterator[Word]:
    """Yield a word as displayable text: in one piece, or cut where no spaces separate words.

    Word times that were made of characters have whole sentences of Chinese or Japanese as words.
    """
    text = _displayable(word.text)
    if len(text) <= _PIECE_CHARS or sum(_script(character) in _HAN for character in text) < (
        len(text) / 2
    ):
        if text:
            yield replace(word, text=text)
        return
    per_character = max(0.0, word.end - word.start) / len(text)
    first = 0
    for position in range(1, len(text) + 1):
        is_full = position == len(text) or position - first == _PIECE_CHARS
        if not is_full and not (_is_stop(text[position - 1]) and not _is_stop(text[position])):
            continue
        yield replace(
            word,
            text=text[first:position],
            start=word.start + first * per_character,
            end=word.start + position * per_character,
            is_joined=first > 0,
        )
        first = position


def _is_stop(character: str) -> bool:
    return unicodedata.normalize("NFKC", character) in _STOPS


def _displayable(text: str) -> str:
    """Return the text in one line without control characters."""
    kept = (" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text)
    return " ".join("".join(c for c in kept if unicodedata.category(c) != "Cs").split())
