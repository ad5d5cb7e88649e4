"""Write every generated reference page; `--check` reports stale ones instead (exit code 1)."""

import sys

from docs.generate.pages import PAGES, stale_pages


def main() -> int:
    """Write or check the pages and return the exit code."""
    if "--check" in sys.argv[1:]:
        stale = stale_pages()
        print("".join(f"stale: {path}\n" for path in stale) or "all pages are current", end="")
        return 1 if stale else 0
    for path, render in PAGES.items():
        path.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
