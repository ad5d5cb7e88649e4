"""Make the blocking client from the one for asyncio; `--check` reports stale files instead.

`takeone/_async` is written by hand. Its files without a leading underscore are copied to
`takeone/_sync` without `async` and `await`, and with the blocking names. Run it after each change
of `_async`, with ruff installed: `.venv/bin/python clients/python/make_sync.py`.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent / "takeone"
SOURCE: Final = PACKAGE / "_async"
MADE: Final = PACKAGE / "_sync"
NOTE: Final = "# Made from _async/{} by make_sync.py. Change that file, and run make_sync.py.\n"
RULES: Final = (
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|closing|iter_bytes|read)\b", r"\1"),
    (r"\bAsync(Iterator|Generator|Takeone)\b", r"\1"),
    (r"\bAsyncComposition\b", "BlockingComposition"),
    (r"\bhttpx\.AsyncClient\b", "httpx.Client"),
    (r"\b_async\b", "_sync"),
    (r"\b([Tt])he (client|transport) for asyncio\b", r"\1he blocking \2"),
    (r" for asyncio\b", ""),
)
"""Patterns and what replaces them, in this order."""


def sources() -> list[Path]:
    """Return the files that are copied."""
    return sorted(SOURCE.glob("[!_]*.py"))


def blocking(source: Path) -> str:
    """Return the blocking form of a file of the client for asyncio."""
    text = source.read_text(encoding="utf-8")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    place = str(MADE / source.name)
    fixes = ("--fix-only", "--unsafe-fixes", "--select", "I,UP028", "--stdin-filename", place)
    fixed = _ruff(NOTE.format(source.name) + text, "check", *fixes)
    return _ruff(fixed, "format", "--stdin-filename", place)


def stale() -> list[str]:
    """Return the names of the files that are not as they would be made."""
    made = {path.name: path.read_text(encoding="utf-8") for path in MADE.glob("[!_]*.py")}
    names = {source.name: blocking(source) for source in sources()}
    return sorted(name for name in made | names if made.get(name) != names.get(name))


def _ruff(text: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "-"]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, encoding="utf-8"
    ).stdout


def main() -> int:
    """Write or check the files, and return the exit code."""
    if "--check" in sys.argv[1:]:
        names = stale()
        print("".join(f"stale: _sync/{name}\n" for name in names) or "all files are current")
        return 1 if names else 0
    texts = {source.name: blocking(source) for source in sources()}
    for path in MADE.glob("[!_]*.py"):
        path.unlink()
    for name, text in texts.items():
        (MADE / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
