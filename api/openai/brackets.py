"""Form fields in bracket notation, as nested values: `a[b]` is a member, `a[]` an item of a list.

All values are text. At most two levels and 64 fields: no order needs more.
"""

import re
from collections.abc import Iterable
from typing import Final, cast

from api.http.problems.documents import invalid_field

MAX_FIELDS: Final = 64
MAX_NAME: Final = 200
_NAME: Final = re.compile(r"(?P<outer>[^\[\]]+)(?:\[(?P<inner>[^\[\]]*)\])?")
_SHAPE: Final = "must be a name, a name[member], or name[] for each item of a list"

Value = str | list[str] | dict[str, str]


def read_brackets(fields: Iterable[tuple[str, str]]) -> dict[str, Value]:
    """Return the fields as nested values. Raise ProblemError for an invalid form.

    fields: names and texts, in the order of the form.
    """
    values: dict[str, Value] = {}
    for number, (name, text) in enumerate(fields):
        if number == MAX_FIELDS:
            raise invalid_field("body", f"must not have more than {MAX_FIELDS} fields")
        match = _NAME.fullmatch(name) if len(name) <= MAX_NAME else None
        if match is None:
            raise invalid_field(name[:MAX_NAME] or "body", _SHAPE)
        _add(values, match["outer"], match["inner"], text)
    return values


def _add(values: dict[str, Value], outer: str, inner: str | None, text: str) -> None:
    if inner is None:
        if outer in values:
            raise invalid_field(outer, "may be given once only")
        values[outer] = text
        return
    if inner == "":
        items = values.setdefault(outer, [])
        if not isinstance(items, list):
            raise invalid_field(outer, "must be either a text, a list or an object")
        items.append(text)
        return
    members = values.setdefault(outer, cast("dict[str, str]", {}))
    if not isinstance(members, dict):
        raise invalid_field(outer, "must be either a text, a list or an object")
    if inner in members:
        raise invalid_field(f"{outer}[{inner}]", "may be given once only")
    members[inner] = text
