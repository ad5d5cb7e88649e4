"""The list of generated pages."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from docs.generate import (
    alerts,
    architecture_picture,
    command_line,
    configuration,
    errors,
    evidence,
    http_api,
    log_events,
    metrics,
    models,
    provider_reads,
    user_command_line,
)
from docs.generate.markdown import ROOT

REFERENCE = ROOT / "docs/reference"
PAGES: Final[dict[Path, Callable[[], str]]] = {
    ROOT / "docs/how-to/answer-alerts.md": alerts.render,
    ROOT / "docs/images/architecture.svg": architecture_picture.render,
    REFERENCE / "cli.md": command_line.render,
    REFERENCE / "configuration.md": configuration.render,
    REFERENCE / "errors.md": errors.render,
    REFERENCE / "http-api.md": http_api.render,
    REFERENCE / "log-events.md": log_events.render,
    REFERENCE / "metrics.md": metrics.render,
    REFERENCE / "models.md": models.render,
    REFERENCE / "provider-reads.md": provider_reads.render,
    REFERENCE / "takeone.md": user_command_line.render,
    evidence.PAGE: evidence.render,
}


def stale_pages() -> list[str]:
    """Return the pages whose file differs from what the code generates now."""
    return [
        path.relative_to(ROOT).as_posix()
        for path, render in PAGES.items()
        if not path.exists() or path.read_text(encoding="utf-8") != render()
    ]
