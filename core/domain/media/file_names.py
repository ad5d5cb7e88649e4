"""File names of downloads, and the header that proposes one to a browser (RFC 6266, RFC 8187)."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

from core.domain.media.content import EXTENSIONS

MAX_FILE_NAME: Final = 120
"""With four bytes per character, still far below the limits of headers and addresses."""
_UNQUOTABLE: Final = re.compile(r'[^ -~]|["\\%]')
"""`%` is included because some browsers decode it in the quoted form."""
_REFUSED_CATEGORIES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_BIDI_CONTROLS: Final = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""They reorder what a person sees, so that `…gpj.exe` reads like `…exe.jpg`."""


def check_file_name(name: str) -> str:
    """Return a user's file name. Raise ValueError if it is unsafe or not displayable."""
    if len(name) > MAX_FILE_NAME:
        raise ValueError(f"must have at most {MAX_FILE_NAME} characters")
    if any(
        character in "/\\" or character in _BIDI_CONTROLS
        or unicodedata.category(character) in _REFUSED_CATEGORIES
        for character in name
    ):  # fmt: skip
        raise ValueError("must not contain slashes, backslashes or control characters")
    if name and not name.strip(". "):
        raise ValueError("must contain more than dots and spaces")
    return name


def download_name(
    requested: str, *, owner_id: str, kind: str, output_number: int, content_type: str
) -> str:
    """Return the file name of a download, with the extension of its content type.

    requested: from `check_file_name`; empty for a name from the owner and the file's kind.
    owner_id: of the execution, or of an uploaded asset.
    """
    name = requested.strip(" ").rstrip(". ")
    if not name:
        number = f"-{output_number + 1}" if output_number else ""
        name = f"{owner_id}-{kind}{number}"
    extension = EXTENSIONS.get(content_type)
    if extension is None or name.lower().endswith(f".{extension}"):
        return name
    return f"{name}.{extension}"


def content_disposition(name: str) -> str:
    """Return a Content-Disposition that makes browsers save the file under this name.

    The value is ASCII without control characters. Clients that do not read `filename*` get a name
    with `_` for every other character.
    """
    plain = _UNQUOTABLE.sub("_", name)
    header = f'attachment; filename="{plain}"'
    if plain == name:
        return header
    return f"{header}; filename*=UTF-8''{quote(name, safe='')}"
