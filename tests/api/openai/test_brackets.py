"""Form fields in bracket notation."""

from typing import cast

import pytest

from api.http.problems.documents import ProblemError
from api.openai.brackets import MAX_FIELDS, read_brackets


def test_members_items_and_plain_texts_are_read() -> None:
    fields = [
        ("prompt", "a kite"),
        ("metadata[orderId]", "A-1"),
        ("metadata[shop]", ""),
        ("tags[]", "x"),
        ("tags[]", "y"),
    ]
    assert read_brackets(fields) == {
        "prompt": "a kite",
        "metadata": {"orderId": "A-1", "shop": ""},
        "tags": ["x", "y"],
    }


@pytest.mark.parametrize(
    ("names", "field"),
    [
        (["a", "a"], "a"),
        (["a[b]", "a[b]"], "a[b]"),
        (["a", "a[b]"], "a"),
        (["a[b]", "a"], "a"),
        (["a[]", "a[b]"], "a"),
        (["a[b]", "a[]"], "a"),
        (["a[b][c]"], "a[b][c]"),
        (["a[b"], "a[b"),
        (["[a]"], "[a]"),
        ([""], "body"),
        (["a" * 201], "a" * 200),
        ([f"a{number}" for number in range(MAX_FIELDS + 1)], "body"),
    ],
)
def test_other_names_are_refused(names: list[str], field: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read_brackets([(name, "x") for name in names])
    (error,) = cast("list[dict[str, str]]", caught.value.members["errors"])
    assert error["field"] == field


def test_the_most_fields_are_read() -> None:
    assert len(read_brackets([(f"a{number}", "") for number in range(MAX_FIELDS)])) == MAX_FIELDS
