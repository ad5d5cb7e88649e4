"""The runbook: a section for each alert, from the table of deploy/observability/."""

import textwrap
from typing import Final

from deploy.observability.alerts import money, parts, spending, work
from deploy.observability.objectives import (
    BURN_ALERTS,
    BURNS,
    CALLERS_CODES,
    LEAST_EVENTS,
    OBJECTIVES,
    PERIOD_DAYS,
)
from deploy.observability.table import Alert, Severity
from docs.generate.markdown import COLUMNS, code, codes, page, paragraph, table

INTRO: Final = """\
The rules are in `deploy/prometheus/takeone.rules.yaml`, the dashboard in
`deploy/grafana/takeone.json`. Both are made from the same table as this page, in
`deploy/observability/`. A `page` wakes a person, a `ticket` is read in the morning. Commands are
those of `takeone-admin` ([all](../reference/cli.md)); words in capitals stand for values. How to
set Prometheus up: [observe](observe.md)."""
GROUPS: Final = (
    ("Is money going out without effect?", money.ALERTS),
    ("Is more spent than planned?", spending.ALERTS),
    ("Does work wait?", work.ALERTS),
    ("Is a part down?", parts.ALERTS),
    ("Are the objectives met?", BURN_ALERTS),
)


def render() -> str:
    """Return the page."""
    groups = [
        "\n\n".join(
            (
                f"## {title}",
                *([_objectives()] if alerts is BURN_ALERTS else []),
                *map(_section, alerts),
            )
        )
        for title, alerts in GROUPS
    ]
    return page("Answer alerts", INTRO, _overview(), *groups)


def _overview() -> str:
    rows = [
        (f"[{alert.full_name}](#{alert.full_name.lower()})", alert.severity, _first(alert.reason))
        for _, alerts in GROUPS
        for alert in alerts
        if alert.severity is Severity.PAGE
    ]
    return "## Alerts that wake a person\n\n" + table(("alert", "severity", "why"), rows)


def _first(text: str) -> str:
    return text.partition(". ")[0].rstrip(".") + "."


def _section(alert: Alert) -> str:
    lasts = "" if alert.lasts == "0s" else f" for {alert.lasts}"
    return "\n\n".join(
        (
            f"### {alert.full_name}",
            _query(alert.condition),
            paragraph(f"**{alert.severity}**, when this holds{lasts}. {alert.reason}"),
            paragraph(f"**Look.** {alert.look}"),
            paragraph(f"**Act.** {alert.act}"),
            "```sh\n" + "\n".join(f"takeone-admin {each}" for each in alert.commands) + "\n```",
        )
    )


def _query(text: str) -> str:
    lines = textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)
    return f"```promql\n{lines}\n```"


def _objectives() -> str:
    rows = [
        (objective.name, f"{objective.target:.1%}", objective.promise) for objective in OBJECTIVES
    ]
    burns = [
        (burn.name, burn.severity, f"{burn.factor:g}", f"{burn.long} and {burn.short}", burn.reason)
        for burn in BURNS
    ]
    return "\n\n".join(
        (
            paragraph(
                f"Objectives over {PERIOD_DAYS} days. Failures that the caller causes use no error "
                f"budget: {codes(CALLERS_CODES)}. Probes ({code('/healthz')}, {code('/readyz')}) "
                "are not counted."
            ),
            table(("objective", "target", "a good event"), rows),
            paragraph(
                "An alert compares the share of errors in two windows with a multiple of what the "
                "objective allows. The long window shows that it matters, the short one that it "
                f"continues. It needs {LEAST_EVENTS} events in the long window."
            ),
            table(("alert", "severity", "multiple", "windows", "uses"), burns),
        )
    )
