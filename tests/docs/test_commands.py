"""Every command of `takeone-admin` and of make that a page names exists, with its options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import PROGRAM, app, parse
from cli.session import Session
from tests.docs.test_pages import PAGES, ROOT

FENCE = re.compile(r"^ *```\w*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
RUN = re.compile(rf"(?:^|-- |\$\(){PROGRAM} (.+)", re.MULTILINE)
MAKE = re.compile(r"(?:^| |&& )make ([a-z][a-z-]*)")
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
SYNOPSES = ROOT / "docs/reference/cli.md"
"""It is made of the definitions themselves."""
GROUPS: dict[str, Any] = vars(typer.main.get_command(app))["commands"]
VALUES = {"USD": "1.5", "$FROM": "2026-11-22T10:00:00Z"}
"""Placeholders whose place takes an amount or a time."""
NAMES_PAGES = [page for page in PAGES if PROGRAM in page.read_text(encoding="utf-8")]
"""Pages on operation."""


def no_settings() -> Any:
    raise AssertionError("parsing reads no settings")


def run_lines(page: Path) -> Iterator[str]:
    """Yield the commands of the code blocks, without the program's name."""
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            yield from RUN.findall(line.strip())


def mentions(page: Path) -> Iterator[list[str]]:
    """Yield the words of commands that sentences name, with or without the program's name."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for code in INLINE.findall(text):
        words = code.split()
        if words[0] == PROGRAM:
            yield words[1:]
        elif len(words) > 1 and words[1] in subcommands(words[0]):
            yield words


def subcommands(group: str) -> dict[str, Any]:
    return getattr(GROUPS.get(group), "commands", {})


def unknown_words(words: list[str]) -> list[str]:
    """Return the command or the options of a mention that do not exist."""
    if not words:
        return []
    command: Any = GROUPS.get(words[0])
    if command is None:
        return words[:1]
    if len(words) > 1 and subcommands(words[0]):
        command = subcommands(words[0]).get(words[1])
        if command is None:
            return words[:2]
    known = {name for option in command.params for name in option.opts} | {"--help"}
    return [word for word in words if word.startswith("--") and word not in known]


@pytest.mark.parametrize("page", NAMES_PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_operators_commands_of_a_page_exist(page: Path) -> None:
    assert [words for words in mentions(page) if unknown_words(words)] == []
    if page == SYNOPSES:
        return
    for line in run_lines(page):
        arguments = [VALUES.get(word, word) for word in shlex.split(line, comments=True)]
        try:
            command = parse(arguments, Session(no_settings))
        except typer.TyperException as error:
            pytest.fail(f"{line}: {error.format_message()}")
        assert not isinstance(command, int), line
        command.close()


def test_make_targets_of_the_pages_exist() -> None:
    targets = set(TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    named = {
        (page.name, target)
        for page in PAGES
        for block in (
            *FENCE.findall(page.read_text(encoding="utf-8")),
            *(code for code in INLINE.findall(page.read_text(encoding="utf-8"))),
        )
        for target in MAKE.findall(block)
    }
    assert len(named) > 10
    assert {(page, target) for page, target in named if target not in targets} == set()
