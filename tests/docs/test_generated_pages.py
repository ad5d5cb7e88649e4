"""Generated reference pages are current."""

from docs.generate.pages import stale_pages


def test_generated_pages_are_current() -> None:
    """A change of the code that a page describes needs `python -m docs.generate`."""
    assert not stale_pages(), "run .venv/bin/python -m docs.generate and commit the pages"
