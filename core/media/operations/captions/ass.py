"""The ASS file that libass draws on the frames, and that players show."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from core.media.fonts.measuring import Run, runs_of
from core.media.fonts.packaged import HAN
from core.media.operations.captions.grouping import Caption, bridged
from core.media.operations.captions.layout import Layout, Page, Piece
from core.media.operations.captions.style import Animation, rgba

_OUTLINE, _BOX = 1, 4
"""BorderStyle. A box is one rectangle behind all lines in BackColour, which Shadow widens."""
_NORMAL, _BOLD = 400, 700
"""The weights that a style can name; a command names any other."""
_SHADOW_COLOR: Final = "#000000B0"
_GLOW_WIDTH, _GLOW_BLUR = 4, 6
_DETECTED: Final = -1
"""Encoding: the direction of a line follows its first letter."""
_RIGHT_TO_LEFT: Final = "\u200f"
_WORD_JOINER: Final = "\u2060"
_KANA: Final = re.compile(r"[\u3040-\u30ff\u31f0-\u31ff]")
_STYLE_FIELDS: Final = (
    "Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, "
    "Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, "
    "Alignment, MarginL, MarginR, MarginV, Encoding"
)
_EVENT_FIELDS: Final = "Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    """What is drawn from one frame to before another. active: number of the spoken word."""

    first: int
    end: int
    active: int | None


def ass_file(
    captions: Sequence[Caption], page: Page, frame_rate: Fraction, language: str | None
) -> str:
    """Return the file. frame_rate: of the film; captions change exactly at its frames."""
    han = _han_family(captions, language)
    lines = [
        "[Script Info]",
        "ScriptType: v4.00+",
        f"PlayResX: {page.width}",
        f"PlayResY: {page.height}",
        "WrapStyle: 0",
        "ScaledBorderAndShadow: yes",
        "YCbCr Matrix: TV.709",
        "",
        "[V4+ Styles]",
        f"Format: {_STYLE_FIELDS}",
        _style_line(page),
        "",
        "[Events]",
        f"Format: {_EVENT_FIELDS}",
    ]
    starts = [_frame(caption.start, frame_rate) for caption in captions]
    for caption, following in zip(captions, [*starts[1:], None], strict=True):
        writer = _Writer(page=page, layout=page.arrange(caption.words), han=han)
        for event in _events(caption, following, page, frame_rate):
            start, end = (_time(frame, frame_rate) for frame in (event.first, event.end))
            text = writer.text(event.active)
            lines.append(f"Dialogue: 0,{start},{end},Default,,0,0,0,,{text}")
    return "\n".join([*lines, ""])


def _style_line(page: Page) -> str:
    style, unit = page.style, page.unit
    box = style.background_color
    is_highlighted = style.is_highlighted and style.inactive_word_color
    color = style.inactive_word_color if is_highlighted else style.color
    values = (
        "Default",
        page.family,
        _number(style.font_size * unit),
        _ass_color(color or style.color),
        _ass_color(color or style.color),
        _ass_color(style.outline_color),
        _ass_color(_SHADOW_COLOR if box is None else box),
        *(-1 if style.weight == _BOLD else 0, 0, 0, 0, 100, 100, 0, 0),
        _OUTLINE if box is None else _BOX,
        _number(style.outline_width * unit),
        _number((style.shadow_distance if box is None else style.padding) * unit),
        style.alignment,
        *(round(margin * unit) for margin in (style.margin_l, style.margin_r, style.margin_v)),
        _DETECTED,
    )
    return f"Style: {','.join(map(str, values))}"


def _events(
    caption: Caption, following: int | None, page: Page, frame_rate: Fraction
) -> Iterator[_Event]:
    """Yield what is shown one after the other.

    following: the first frame of the next caption. A caption between two frames has the next frame
    unless that belongs to the next caption: two at once would be moved apart.
    """
    position, end = _frame(caption.start, frame_rate), _frame(caption.end, frame_rate)
    if end == position and following != position:
        end = position + 1
    if page.style.is_highlighted:
        for number, word in enumerate(caption.words):
            is_last = number + 1 == len(caption.words)
            next_start = caption.end if is_last else caption.words[number + 1].start
            first = min(end, max(position, _frame(word.start, frame_rate)))
            last = min(end, max(first, _frame(bridged(word.end, next_start), frame_rate)))
            if position < first:
                yield _Event(first=position, end=first, active=None)
            if first < last:
                yield _Event(first=first, end=last, active=number)
            position = last
    if position < end:
        yield _Event(first=position, end=end, active=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writer:
    """Writes the text of one caption. han: the family of Chinese characters."""

    page: Page
    layout: Layout
    han: str

    def text(self, active: int | None) -> str:
        """Return the lines, in which the word of this number is spoken."""
        mark = _RIGHT_TO_LEFT if _is_right_to_left(self.layout) else ""
        lines = (
            mark + "".join(self._piece(piece, line, active) for piece in line)
            for line in self.layout.lines
        )
        return self._base + "\\N".join(lines)

    @property
    def _base(self) -> str:
        """Return the commands that hold for all words, because the style cannot have them."""
        page, commands = self.page, ""
        if page.style.weight not in {_NORMAL, _BOLD}:
            commands += f"\\b{page.style.weight}"
        if self.layout.size != page.style.font_size * page.unit:
            commands += f"\\fs{_number(self.layout.size)}"
        return f"{{{commands}}}" if commands else ""

    def _piece(self, piece: Piece, line: Sequence[Piece], active: int | None) -> str:
        space = "" if piece is line[0] or piece.is_joined else " "
        text = "".join(map(self._run, runs_of(piece.text, self.page.family)))
        if piece.word == active:
            text = f"{{{_active_commands(self.page)}}}{text}{{\\r}}{self._base}"
        return space + text

    def _run(self, run: Run) -> str:
        """Return text with the name of its family; libass itself finds at most ten families."""
        text = _escaped(run.text)
        if run.family is None:
            return text
        family = self.han if run.family == HAN else run.family
        size, own = _number(self.layout.size * run.scale), _number(self.layout.size)
        return f"{{\\fn{family}\\fs{size}}}{text}{{\\fn\\fs{own}}}"


def _active_commands(page: Page) -> str:
    style = page.style
    red, green, blue, alpha = rgba(style.active_word_color)
    color = f"&H{blue:02X}{green:02X}{red:02X}&"
    commands = f"\\1c{color}\\1a&H{255 - alpha:02X}&"
    if style.animation_style is Animation.SCALE and style.scale > 1:
        percent = round(100 * style.scale)
        commands += f"\\fscx{percent}\\fscy{percent}"
    if style.animation_style is Animation.GLOW:
        width = _number((style.outline_width + _GLOW_WIDTH) * page.unit)
        commands += f"\\3c{color}\\bord{width}\\blur{_number(_GLOW_BLUR * page.unit)}"
    return commands


def _escaped(text: str) -> str:
    r"""Return text that is shown as it is; libass would take `{…}` and `\N` for commands."""
    joined = text.replace("\\", f"\\{_WORD_JOINER}")
    return joined.replace("{", "\\{").replace("}", "\\}")


def _is_right_to_left(layout: Layout) -> bool:
    text = "".join(piece.text for line in layout.lines for piece in line)
    directions = [unicodedata.bidirectional(character) for character in text]
    right = sum(direction in {"R", "AL"} for direction in directions)
    return right > directions.count("L")


def _han_family(captions: Sequence[Caption], language: str | None) -> str:
    """Return the family whose Chinese characters have the shapes that the language uses."""
    name, *subtags = (language or "").lower().replace("_", "-").split("-")
    if name in {"ja", "jpn"}:
        region = "JP"
    elif name in {"ko", "kor"}:
        region = "KR"
    elif name in {"zh", "zho", "chi", "cmn", "yue"}:
        is_traditional = name == "yue" or not {"hant", "tw", "hk", "mo"}.isdisjoint(subtags)
        region = "TC" if is_traditional else "SC"
    else:
        has_kana = any(_KANA.search(word.text) for caption in captions for word in caption.words)
        region = "JP" if has_kana else "SC"
    return f"{HAN} {region}"


def _frame(seconds: float, frame_rate: Fraction) -> int:
    """Return the first frame at or after a time."""
    return max(0, ceil(seconds * float(frame_rate) - 1e-6))


def _time(frame: int, frame_rate: Fraction) -> str:
    """Return a time between a frame and the one before, so that no rounding moves a caption."""
    centiseconds = max(0, round(100 * (frame - 0.5) / float(frame_rate)))
    minutes, rest = divmod(centiseconds, 6000)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest // 100:02d}.{rest % 100:02d}"


def _ass_color(color: str) -> str:
    red, green, blue, alpha = rgba(color)
    return f"&H{255 - alpha:02X}{blue:02X}{green:02X}{red:02X}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
