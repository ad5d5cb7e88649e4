"""Which packaged font has a character, and how wide text is in these fonts."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final, Protocol, cast

from fontTools.ttLib import TTFont

from core.media.fonts.packaged import EMOJI, HAN, MONO, SANS, SERIF, font_files

_FILES: Final = {
    SANS: "NotoSans[wght].ttf",
    SERIF: "NotoSerif[wdth,wght].ttf",
    MONO: "RobotoMono[wght].ttf",
    EMOJI: "NotoEmoji[wght].ttf",
    HAN: "NotoSansCJK-VF.otf.ttc",
}
"""The files in which a character is looked for first, in this order."""
_BOUND: Final = frozenset({"Mn", "Mc", "Me", "Cf", "Sk"})
_JOINER: Final = "\u200d"
_REMEMBERED: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A part of a text that one family has. None: the family of the text.

    scale: the size, relative to that of the text, at which both have equally large letters.
    """

    text: str
    family: str | None
    scale: float


def width_of(text: str, *, family: str, weight: int, size: float) -> float:
    """Return the width of a line of text, in the unit of its size; rather too wide than too narrow.

    Characters are measured one by one; joined letters are narrower. size: as ASS defines it, the
    height of a line.
    """
    return size * sum(_share(character, family, weight) for character in text)


@lru_cache(_REMEMBERED)
def runs_of(text: str, family: str) -> Sequence[Run]:
    """Return the parts of a text by the fonts that have their characters."""
    runs: list[Run] = []
    own = _face(_FILES[family])
    for cluster in clusters(text):
        face = _face_of(cluster[0], family) or own
        name = None if face is own else face.family
        if runs and runs[-1].family == name:
            cluster, name = runs.pop().text + cluster, name
        runs.append(Run(text=cluster, family=name, scale=face.em_height / own.em_height))
    return tuple(runs)


def clusters(text: str) -> Iterator[str]:
    """Yield characters with the accents that belong to them."""
    cluster = ""
    for character in text:
        is_bound = unicodedata.category(character) in _BOUND or cluster.endswith(_JOINER)
        if cluster and not is_bound:
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


@lru_cache(_REMEMBERED)
def _share(character: str, family: str, weight: int) -> float:
    """Return the width of a character where the size is 1."""
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0.0
    face = _face_of(character, family)
    own = _face(_FILES[family])
    return (1.0 if face is None else face.width(character, weight)) / own.em_height


@lru_cache(_REMEMBERED)
def _face_of(character: str, family: str) -> "_Face | None":
    """Return the first face with a character, or None."""
    names = (path.name for path in font_files() if "Italic" not in path.name)
    faces = (_face(name) for name in dict.fromkeys((_FILES[family], *_FILES.values(), *names)))
    return next((face for face in faces if face.has(character)), None)


@cache
def _face(name: str) -> "_Face":
    return _Face(next(path for path in font_files() if path.name == name))


class _Glyph(Protocol):
    width: float


class _Limits(Protocol):
    """The table `OS/2`, whose limits libass takes for the height of a line."""

    usWinAscent: int  # noqa: N815 - as the font format calls it
    usWinDescent: int  # noqa: N815


class _Head(Protocol):
    unitsPerEm: int  # noqa: N815


class _Names(Protocol):
    def getBestFamilyName(self) -> str: ...  # noqa: N802


class _Face:
    """One font file, of which only the tables are read that are asked for.

    em_height: the height of a line, relative to the em of the letters.
    """

    def __init__(self, path: Path) -> None:
        self._font = TTFont(path, fontNumber=0, lazy=True)
        self._characters = cast("Mapping[int, str]", self._font.getBestCmap())
        limits, head = cast("_Limits", self._font["OS/2"]), cast("_Head", self._font["head"])
        self._em = head.unitsPerEm
        self._glyphs: dict[int, Mapping[str, _Glyph]] = {}
        self.em_height = (limits.usWinAscent + limits.usWinDescent) / self._em
        is_han = path.name == _FILES[HAN]
        names = cast("_Names", self._font["name"])
        self.family = HAN if is_han else names.getBestFamilyName()

    def has(self, character: str) -> bool:
        return ord(character) in self._characters

    def width(self, character: str, weight: int) -> float:
        """Return the width of a character that the face has, relative to the em."""
        if weight not in self._glyphs:
            self._glyphs[weight] = cast(
                "Mapping[str, _Glyph]", self._font.getGlyphSet(location={"wght": weight})
            )
        return self._glyphs[weight][self._characters[ord(character)]].width / self._em
