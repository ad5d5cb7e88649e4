"""Write the files that Grafana and Prometheus read; `--check` reports stale ones instead."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.observability import grafana, rules, scraping

DEPLOY: Final = Path(__file__).resolve().parents[1]
RULES: Final = DEPLOY / "prometheus/takeone.rules.yaml"
FILES: Final[dict[Path, Callable[[], str]]] = {
    DEPLOY / "grafana/takeone.json": grafana.render,
    RULES: rules.render,
    DEPLOY / "prometheus/prometheus.yaml": scraping.render,
}


def stale_files() -> list[str]:
    """Return the files that differ from what the table generates now."""
    return [
        path.relative_to(DEPLOY.parent).as_posix()
        for path, render in FILES.items()
        if not path.exists() or path.read_text(encoding="utf-8") != render()
    ]


def main() -> int:
    """Write or check the files and return the exit code."""
    if "--check" in sys.argv[1:]:
        stale = stale_files()
        print("".join(f"stale: {path}\n" for path in stale) or "all files are current", end="")
        return 1 if stale else 0
    for path, render in FILES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
