"""The page of webhooks and the errors of their attempts."""

from pathlib import Path

from core.webhooks.sender import AttemptError


def test_documentation_lists_every_error() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "webhooks.md").read_text(
        encoding="utf-8"
    )
    assert [error for error in AttemptError if f"`{error}`" not in page] == []
