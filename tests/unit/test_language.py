"""The prose rules that a program can check: word list, test names, line length of the docs.

`python -m tests.unit.test_language PATH…` prints `file:line: phrase → suggestion` for any path.
Every path in CLEAN must have no findings.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]

CLEAN = (
    ".env.example",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "activities/",
    "api/",
    "cli/",
    "clients/",
    "console/",
    "core/",
    "deploy/",
    "docs/",
    "sandbox/",
    "tests/",
    "worker.py",
    "workflows/",
)
"""Files and folders that must have no findings; a trailing `/` names a folder."""

SUGGESTIONS: dict[str, str] = {
    # People that are meant to be parts of the system, or nobody in particular.
    r"nobody|no-one|somebody|whoever|whomever|whosoever": "name the subject",
    r"(?:one|those|anyone|everyone|he|them) who": "name the subject",
    r"who (?:is|asks|waits|wants)": "name the subject",
    # Software does not speak, hear or think.
    r"tells?|told": "returns, reports, sends",
    r"hears?|heard": "receives",
    r"says|said": "returns, reports, states",
    r"knows|knew": "has, stores, can look up",
    r"believes?|believed|thinks|thought of|wishes|minds|dares?": "state the condition",
    r"let (?:in|through|go|be)|lets (?:in|through|go)": "admit, allow, release",
    r"vouch(?:es|ed|ing)?|(?:answers?|answered) for": "verify, own",
    r"asked (?:of|for by)|ordered of|order it of|wanted of": "requested from",
    # Words of the old register with a standard term.
    r"rooms?": "slot, capacity, concurrency limit",
    r"(?:is|are|was|were|be|been|being|stays?|stayed|while|when) away|away": "unavailable, down",
    r"the past|gone back|went back to": "restored from an older backup",
    r"go on|goes on|went on|going on|gone on": "continue, resume",
    r"how (?:it|they|an?|the|its|each|every)(?: [\w-]+){0,3} (?:stands?|stood|ended|closed)": "state",
    r"beside": "alongside, in addition to",
    r"beats?|beating": "heartbeat",
    r"sweeps?|sweeper|sweeping|swept": "reconciler",
    r"desks?": "route helper, base class",
    r"gates?|gated": "admission control",
    r"held back|holds? back": "deferred",
    r"turned away|sent away|put off": "rejected, deferred",
    r"parked|parking": "breakpoint",
    r"late bills?": "open bill",
    r"the mark|the marks": "restore marker, high-water mark",
    r"the books": "the ledger",
    r"wakeups?|wake-up of": "notification",
    # Constructions.
    r"as (?:many|much)(?: [\w-]+){0,6} as (?:may|can) be|as may be|may be had": "state the limit",
    r"of (?:ours|theirs)": "our, their",
    r"is none|are none|was none|of nothing is": "state the rule",
    r"never (?:both|neither)|neither is both": "state the fact",
    r"for ever": "forever, without limit",
    r"till": "until",
    r"now and then|again and again|once and for all|by and by|in vain": "periodically, repeatedly",
    r"as it were|so to speak|on its own account": "drop it",
    r"lies (?:in|below|under|behind|outside|there|with)": "is in",
    r"comes? of it|out of hand|to hand|at hand": "state the result",
    r"forgets|remembers": "deletes, stores",
    r"whatever it is|what it is worth|what was it": "name the thing",
    r"the one (?:that|which|who|with|we|it|of)|the ones": "repeat the noun",
    r"(?:is|are|was|were) to be (?:had|seen|found|believed)": "state the fact",
    r"need not|ought to": "does not need to, must",
}
"""Phrases of the old register (whole words, any case), each with what to write instead."""

ALLOWED = re.compile(
    r"right away|tell\w*(?: \w+)? apart|give[sn]? away|away from|exits? gate|he said",  # ordinary English
    re.IGNORECASE,
)
"""Ordinary English that contains a listed phrase: blanked out before the search."""

IDENTIFIER_WORDS = re.compile(
    "nobody|somebody|whoever|tells?|told|hears?|heard|says|said|knows|knew|rooms?|away|beside"
    "|beats?|sweeps?|sweeping|sweeper|swept|desks?|gates?|parked|parking"
)
"""Not allowed as a word of the name of a function, class, method or test."""

LOCAL_NAMES = frozenset(("asked", "told", "wanted", "found", "given", "one"))
"""Not allowed as the name of a variable or parameter."""

WIRE_NAMES: frozenset[str] = frozenset()
"""Names that stay because they are stored or sent, for example an activity's function."""

TEXT_SUFFIXES = (".md", ".sql", ".yaml", ".yml", ".toml", ".cfg", ".html")
TEXT_NAMES = ("Makefile", "Dockerfile", "Caddyfile", ".env.example")
DOC_COLUMNS = 100
GENERATED = re.compile(r"<!-- evidence:.*?<!-- /evidence -->", re.DOTALL)
MAX_TEST_NAME_WORDS = 10


class Finding(NamedTuple):
    """A phrase or a name that breaks a rule, at a line of a file."""

    path: str
    line: int
    phrase: str
    suggestion: str

    def __str__(self) -> str:
        """Return the finding as one line of the report."""
        return f"{self.path}:{self.line}: {self.phrase} → {self.suggestion}"


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(
        "|".join(rf"(?P<p{n}>\b(?:{phrase})\b)" for n, phrase in enumerate(SUGGESTIONS)),
        re.IGNORECASE,
    )


_SUGGESTION_OF = list(SUGGESTIONS.values())


def _in_text(path: str, line: int, text: str) -> Iterator[Finding]:
    """Yield the listed phrases in a text that starts at this line."""
    prose = re.sub(r"``?[^`]*``?|https?://\S+", lambda m: "." + "\n" * m[0].count("\n"), text)
    # A phrase may be wrapped over two lines: without indentation, a line break is one space.
    flat = ALLOWED.sub(".", re.sub(r"\n[ \t]*", "\n", prose))
    for match in _pattern().finditer(flat.replace("\n", " ")):
        number = line + flat.count("\n", 0, match.start())
        suggestion = _SUGGESTION_OF[int((match.lastgroup or "p0")[1:])]
        yield Finding(path, number, match[0], suggestion)


def _comments(path: str, source: str) -> Iterator[Finding]:
    """Yield findings in comments, with neighbouring comment lines read as one text."""
    block: list[str] = []
    start = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        row = token.start[0]
        if block and row != last + 1:
            yield from _in_text(path, start, "\n".join(block))
            block = []
        if not block:
            start = row
        block.append(token.string.lstrip("# "))
        last = row
    yield from _in_text(path, start, "\n".join(block))


def _words_of(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")


def _names(path: str, node: ast.AST) -> Iterator[Finding]:
    """Yield findings in the names that this node defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        words = _words_of(node.name)
        bad = {word for word in words if IDENTIFIER_WORDS.fullmatch(word)}
        if bad and node.name not in WIRE_NAMES:
            yield Finding(path, node.lineno, node.name, f"rename: {', '.join(sorted(bad))}")
        if words[0] == "test" and len(words) - 1 > MAX_TEST_NAME_WORDS:
            message = f"{len(words) - 1} words, at most {MAX_TEST_NAME_WORDS}"
            yield Finding(path, node.lineno, node.name, message)
    name = node.arg if isinstance(node, ast.arg) else None
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        name = node.id
    if (
        name in LOCAL_NAMES
        and not path.startswith("tests/")
        and isinstance(node, ast.arg | ast.Name)
    ):
        yield Finding(path, node.lineno, name or "", "name the thing: request, result, row")


def _documentation_strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield docstrings, including those that follow an assignment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _strings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield every string that has a space: texts of logs, errors, the API and the command line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node


def _in_python(path: str, source: str) -> Iterator[Finding]:
    tree = ast.parse(source)
    in_tests = path.startswith("tests/")
    for literal in _documentation_strings(tree) if in_tests else _strings(tree):
        yield from _in_text(path, literal.lineno, str(literal.value))
    yield from _comments(path, source)
    for node in ast.walk(tree):
        yield from _names(path, node)


def _in_document(path: str, source: str) -> Iterator[Finding]:
    """Yield findings in Markdown: phrases outside code, and long lines outside tables and code."""
    prose: list[str] = []
    fenced = False
    # Generated from docstrings of tests, which have findings of their own.
    source = GENERATED.sub(lambda block: "\n" * block[0].count("\n"), source)
    for number, line in enumerate(source.splitlines(), start=1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        prose.append("" if fenced or fence else line)
        breakable = not (fenced or fence or line.startswith("|") or line.lstrip().startswith("["))
        if breakable and len(line) > DOC_COLUMNS and "://" not in line and "<img" not in line:
            yield Finding(path, number, f"{len(line)} columns", f"wrap at {DOC_COLUMNS}")
    yield from _in_text(path, 1, "\n".join(prose))


def findings(path: Path) -> list[Finding]:
    """Return what breaks a rule in this file, in the order of its lines."""
    relative = path.relative_to(ROOT).as_posix()
    if relative == "tests/unit/test_language.py":
        return []
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        result = _in_python(relative, source)
    elif path.suffix == ".md":
        result = _in_document(relative, source)
    else:
        result = _in_text(relative, 1, source)
    return sorted(set(result), key=lambda finding: finding.line)


def files_under(start: str) -> list[Path]:
    """Return the tracked and new files of prose or Python under this path."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", start]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [
        path
        for path in paths
        if path.is_file()
        and (path.suffix in (".py", *TEXT_SUFFIXES) or path.name in TEXT_NAMES)
        and "tests/providers/recordings" not in path.as_posix()
    ]


@pytest.mark.parametrize("start", CLEAN)
def test_clean_paths_have_no_findings(start: str) -> None:
    """Everything listed in CLEAN follows the rules of this file."""
    files = files_under(start)
    assert files, f"{start} has no file: remove it from CLEAN"
    assert not [str(finding) for path in files for finding in findings(path)]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Nobody is let in by calling it.", "Nobody"),
        ("the user who\n    is told why", "who is"),
        ("while Temporal is away", "is away"),
        ("take room for the send", "room"),
    ],
)
def test_listed_phrases_are_found(text: str, phrase: str) -> None:
    """Whole words match in any case, also across a line break."""
    matches = [" ".join(finding.phrase.split()) for finding in _in_text("x", 1, text)]
    assert phrase in matches


@pytest.mark.parametrize(
    "text",
    [
        "The caller retries right away.",
        "A heartbeat every second; the headroom of the gateway.",
        "Run `make sweep` beforehand, besides the other checks.",
    ],
)
def test_ordinary_english_is_not_reported(text: str) -> None:
    """Words that only contain a listed word are not reported."""
    assert not list(_in_text("x", 1, text))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        for file in files_under(argument):
            for found_here in findings(file):
                print(found_here)  # noqa: T201 - a report on the terminal
