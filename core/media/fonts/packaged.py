"""The fonts of captions: packaged files, so that every machine draws the same pixels."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

_PACKAGES: Final = (
    "manimgx_fonts",
    "manimgx_fonts_cjk",
    "fontpkg_noto_serif",
    "fontpkg_roboto_mono",
)
SANS: Final = "Noto Sans"
SERIF: Final = "Noto Serif"
MONO: Final = "Roboto Mono"
EMOJI: Final = "Noto Emoji"
HAN: Final = "Noto Sans CJK"
"""The file of Chinese, Japanese and Korean. Its families have the name of a region in addition."""

_SAME: Final = {
    SANS: ("arial", "helvetica", "helvetica neue", "verdana", "sans", "sans-serif"),
    SERIF: ("times new roman", "times", "georgia", "serif"),
    MONO: ("courier new", "courier", "consolas", "mono", "monospace"),
}
_FAMILIES: Final = {
    name: family for family, names in _SAME.items() for name in (family.lower(), *names)
}
"""By names in lower case. Fonts that are not free are replaced by the nearest free family."""


def family_of(name: str) -> str | None:
    """Return the packaged family that stands for a font, or None."""
    return _FAMILIES.get(" ".join(name.lower().split()))


@cache
def font_files() -> tuple[Path, ...]:
    """Return all font files, in order of their names."""
    files = (
        file
        for folder in _folders()
        for pattern in ("*.ttf", "*.ttc", "*.otf")
        for file in folder.rglob(pattern)
    )
    return tuple(sorted(files, key=lambda file: file.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fonts:
    """What captions are drawn with. config: the file of fontconfig. key: hash of the fonts."""

    config: Path
    key: str


def packaged_fonts(folder: Path) -> Fonts:
    """Write a configuration with these fonts and no others.

    folder: must exist and stay; fontconfig keeps its cache there, which its first run builds within
    a second. Repeating is safe.
    """
    config = folder / "fonts.conf"
    config.write_text(_configuration(_folders(), str(folder / "cache")))
    return Fonts(config=config, key=_fonts_key())


@cache
def _fonts_key() -> str:
    """Return a digest of all fonts and of how they are chosen, wherever the files lie."""
    digest = hashlib.sha256(_configuration((), "").encode())
    for path in font_files():
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
        digest.update(f"{path.name} {content.hexdigest()}\n".encode())
    return digest.hexdigest()


def _folders() -> tuple[Path, ...]:
    folders: list[Path] = []
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"the package {package} with fonts is not installed")
        folders.extend(map(Path, spec.submodule_search_locations))
    return tuple(folders)


def _configuration(folders: tuple[Path, ...], cache_folder: str) -> str:
    return "\n".join(
        [
            '<?xml version="1.0"?>',
            '<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">',
            "<fontconfig>",
            *(f"<dir>{escape(str(folder))}</dir>" for folder in folders),
            f"<cachedir>{escape(cache_folder)}</cachedir>",
            "</fontconfig>",
            "",
        ]
    )
