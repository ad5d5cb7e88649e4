"""The version is written in pyproject.toml, and nowhere else in the product."""

import re
from pathlib import Path

from core.version import VERSION

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/takeone/Chart.yaml"
"""Helm reads versions from this file only."""
SOURCES = ("activities", "api", "cli", "core", "deploy", "workflows")


def test_version_is_written_only_in_pyproject() -> None:
    """Code, Dockerfile and compose file contain no copy that could become stale."""
    files = [
        path
        for folder in SOURCES
        for path in (ROOT / folder).rglob("[!.]*")
        if path.is_file() and ".ruff_cache" not in path.parts
    ]
    copies = [
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix in (".py", ".yaml", "") and path != CHART and ".ruff_cache" not in path.parts
        # A version of a tool, such as temporalio/server:1.32.0, has further digits around it.
        if re.search(rf"(?<![\d.]){re.escape(VERSION)}(?![\d.])", path.read_text("utf-8"))
    ]
    assert copies == []


def test_chart_installs_the_image_of_the_version() -> None:
    assert f"\nappVersion: {VERSION}\n" in CHART.read_text(encoding="utf-8")


def test_image_contains_the_file_with_the_version() -> None:
    """`core.version` reads pyproject.toml at import, so the image needs it."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    code = dockerfile.split("AS code", 1)[1].split("FROM", 1)[0]
    assert re.search(r"^COPY .*pyproject\.toml", code, re.MULTILINE)


def test_changelog_has_an_entry_for_the_version() -> None:
    """The newest entry of the changelog is the present version."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\S+)\]", changelog, re.MULTILINE)
    assert newest is not None
    assert newest[1] == VERSION
