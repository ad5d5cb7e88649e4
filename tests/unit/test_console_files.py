"""The files of the web console: what is vendored, imports, and sizes."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

CONSOLE = Path(__file__).parents[2] / "console"
VENDOR = CONSOLE / "vendor"
IMPORT = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)["']([^"'\s,]+)["']""")
STATIC_IMPORT = re.compile(r"""(?:\bfrom\s*|\bimport\s*)["']([^"'\s,]+)["']""")
FIRST_SCREEN_BYTES = 100_000
MAX_LINES = 300


def own_files() -> list[Path]:
    paths = (path for path in CONSOLE.rglob("*") if path.suffix in (".js", ".css", ".html"))
    return [path for path in sorted(paths) if VENDOR not in path.parents]


def imported(path: Path, pattern: re.Pattern[str] = IMPORT) -> Iterator[str]:
    yield from pattern.findall(path.read_text(encoding="utf-8"))


def test_vendored_files_have_their_recorded_hashes() -> None:
    lines = (VENDOR / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    recorded = {name: digest for digest, name in (line.split() for line in lines)}
    files = {path.name for path in VENDOR.iterdir()} - {"SHA256SUMS", "README.md"}
    assert recorded.keys() == files
    for name, digest in recorded.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name


def test_imports_are_relative_paths_of_existing_files() -> None:
    modules = list(CONSOLE.rglob("*.js"))
    found = [(path, name) for path in modules for name in imported(path)]
    assert len(found) > len(own_files())
    missing = [
        f"{path.relative_to(CONSOLE)}: {name}"
        for path, name in found
        if not name.startswith(".") or not (path.parent / name).is_file()
    ]
    assert missing == []


def test_only_one_module_names_the_view_library() -> None:
    users = {
        str(path.relative_to(CONSOLE))
        for path in own_files()
        if path.suffix == ".js" and any("/vendor/" in name for name in imported(path))
    }
    assert users == {"shared/view.js"}


def test_no_file_is_over_its_limit() -> None:
    sizes = {
        str(path.relative_to(CONSOLE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in own_files()
    }
    assert {name for name, lines in sizes.items() if lines > MAX_LINES} == set()


def test_page_fetches_the_first_screen_at_once() -> None:
    """It is the shell and the list; other screens are fetched when they are first shown."""
    page = (CONSOLE / "index.html").read_text(encoding="utf-8")
    preloaded = re.findall(r'rel="modulepreload" href="([^"]+)"', page)
    seen: set[Path] = set()
    todo = [CONSOLE / "app.js", CONSOLE / "executions" / "screen.js"]
    while todo:
        path = todo.pop().resolve()
        if path not in seen:
            seen.add(path)
            todo += [path.parent / name for name in imported(path, STATIC_IMPORT)]
    assert preloaded == sorted(
        str(path.relative_to(CONSOLE)) for path in seen - {CONSOLE / "app.js"}
    )
    styles = [CONSOLE / name for name in re.findall(r'rel="stylesheet" href="([^"]+)"', page)]
    assert sum(path.stat().st_size for path in (*seen, *styles)) < FIRST_SCREEN_BYTES
