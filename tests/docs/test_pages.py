"""Files, tests and links that the docs name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for pattern in ("*.md", "clients/*/*.md", "docs/**/*.md")
    for page in sorted(ROOT.glob(pattern))
]
FOLDERS = "activities|api|cli|clients|core|deploy|docs|sandbox|tests|workflows"
PATHS = re.compile(rf"`((?:{FOLDERS})/[\w./-]+\.(?:py|md|sql|yaml))(?:::(\w+))?`")
LINKS = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page_names_files_and_tests_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [link for link in LINKS.findall(text) if not (page.parent / link).exists()]
    for name, test in PATHS.findall(text):
        path = ROOT / name
        if not path.exists():
            missing.append(name)
        elif test and f"def {test}(" not in path.read_text(encoding="utf-8"):
            missing.append(f"{name}::{test}")
    assert missing == []
