"""The page of all metrics, from the module that declares them."""

import ast
import re

from deploy.observability.alerts import ALERTS
from deploy.observability.objectives import RECORDINGS
from docs.generate.markdown import ROOT, code, codes, page, table

SOURCE = ROOT / "core/platform/observability/metrics.py"
KINDS = ("Counter", "Gauge", "Histogram")

INTRO = """\
The API serves its metrics on `METRICS_PORT` (9101), a worker on 9102. The Temporal SDK's own
metrics, worker slots and pollers among them, are on `SDK_METRICS_PORT` (9103). Labels come from
bounded sets, never from ids, addresses or error texts. The dashboard shows them:
[observe](../how-to/observe.md). What to do when an alert is active:
[answer alerts](../how-to/answer-alerts.md)."""


def render() -> str:
    """Return the page: one row for each metric, in the order of their names."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    rows = sorted(row for node in ast.walk(tree) for row in _rows(node))
    return page("Metrics", INTRO, table(("metric", "type", "labels", "meaning", "alerts"), rows))


def _rows(node: ast.AST) -> list[tuple[str, str, str, str, str]]:
    """Return the row of a call that declares a metric, and nothing for any other node."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return []
    if node.func.id not in KINDS or len(node.args) < 2:
        return []
    name, meaning, *rest = (ast.literal_eval(argument) for argument in node.args)
    labels: list[str] = rest[0] if rest else []
    return [(code(name), node.func.id.lower(), codes(labels), meaning, _alerts(name))]


def _alerts(metric: str) -> str:
    """Return links to the alerts that compare a metric, directly or by a recorded ratio."""
    named = re.compile(rf"\b{metric}(_bucket|_sum|_count)?\b")
    recorded = {each.name for each in RECORDINGS if named.search(each.expr)}
    return ", ".join(
        f"[{alert.name}](../how-to/answer-alerts.md#{alert.full_name.lower()})"
        for alert in ALERTS
        if named.search(alert.condition) or any(name in alert.condition for name in recorded)
    )
