"""Lines of captions: which words fit into one, and how large they are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from core.media.fonts.measuring import clusters, runs_of, width_of
from core.media.operations.captions.style import CaptionStyle
from core.media.operations.captions.words import Word

SHORT_SIDE: Final = 1080
"""Of the frame in which the lengths of a style are pixels."""
_SMALLER: Final = 0.93
_SMALLEST: Final = 6.0
"""Text of fewer pixels is not read; a word that needs it is cut off by the frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A word, or a part of a word that is wider than a line. word: its number in the caption."""

    text: str
    word: int
    is_joined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The lines of a caption, and the height of one in pixels."""

    lines: Sequence[Sequence[Piece]]
    size: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A frame in which captions of one style are set. family: one of the packaged ones."""

    width: int
    height: int
    style: CaptionStyle
    family: str

    @property
    def unit(self) -> float:
        """Return the pixels of one unit of the style's lengths."""
        return min(self.width, self.height) / SHORT_SIDE

    def fits(self, words: Sequence[Word]) -> bool:
        """Return whether the words fit at the style's size."""
        return self._fits(self._lines(words, self._size), self._size)

    def arrange(self, words: Sequence[Word]) -> Layout:
        """Return the lines, as equal as they can be; at a smaller size if the words do not fit."""
        size = self._size
        lines = self._lines(words, size)
        while not self._fits(lines, size) and size * _SMALLER > _SMALLEST:
            size *= _SMALLER
            lines = self._lines(words, size)
        return Layout(lines=self._balanced(words, size, lines), size=size)

    @property
    def _size(self) -> float:
        return self.style.font_size * self.unit

    @property
    def _line_width(self) -> float:
        style = self.style
        return self.width - self.unit * (style.margin_l + style.margin_r + 2 * style.outline_width)

    def _fits(self, lines: Sequence[Sequence[Piece]], size: float) -> bool:
        is_middle = 4 <= self.style.alignment <= 6
        free = self.height - self.unit * (0 if is_middle else self.style.margin_v)
        texts = (piece.text for line in lines for piece in line)
        tallest = max(run.scale for text in texts for run in runs_of(text, self.family))
        height = len(lines) * size * self.style.scale * max(1.0, tallest)
        return len(lines) <= self.style.max_lines and height <= free

    def _lines(
        self, words: Sequence[Word], size: float, width: float | None = None
    ) -> list[list[Piece]]:
        limit = self._line_width if width is None else width
        lines: list[list[Piece]] = []
        for number, word in enumerate(words):
            for part, text in enumerate(self._parts(word.text, size)):
                piece = Piece(text=text, word=number, is_joined=word.is_joined or part > 0)
                if lines and not part and self._width([*lines[-1], piece], size) <= limit:
                    lines[-1].append(piece)
                else:
                    lines.append([piece])
        return lines

    def _balanced(
        self, words: Sequence[Word], size: float, lines: list[list[Piece]]
    ) -> list[list[Piece]]:
        """Return the same number of lines with less difference between them."""
        width = self._line_width
        while True:
            width *= _SMALLER
            narrower = self._lines(words, size, width)
            if len(narrower) > len(lines) or any(
                self._width(line, size) > width for line in narrower
            ):
                return lines
            lines = narrower

    def _parts(self, word: str, size: float) -> Iterator[str]:
        """Yield the word, in parts if it is wider than a line."""
        part = ""
        for character in clusters(word):
            if part and self._text_width(part + character, size) * self.style.scale > (
                self._line_width
            ):
                yield part
                part = ""
            part += character
        yield part

    def _width(self, line: Sequence[Piece], size: float) -> float:
        """Return the width of a line whose widest word is spoken."""
        widths = [self._text_width(piece.text, size) for piece in line]
        spaces = sum(not piece.is_joined for piece in line[1:])
        return (
            sum(widths)
            + spaces * self._text_width(" ", size)
            + (self.style.scale - 1) * max(widths)
        )

    def _text_width(self, text: str, size: float) -> float:
        return width_of(text, family=self.family, weight=self.style.weight, size=size)
