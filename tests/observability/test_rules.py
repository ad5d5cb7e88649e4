"""Every alert is quiet, active, and defined without series: on the real rules, by promtool."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.observability.alerts import ALERTS
from deploy.observability.alerts.spending import HORIZON
from deploy.observability.generate import RULES
from deploy.observability.table import Alert
from tests.observability import examples_of_money, examples_of_work
from tests.observability.example import Series

EXAMPLES = examples_of_money.EXAMPLES | examples_of_work.EXAMPLES
NO_SERIES: Series = {}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian package prometheus)"
)


def promtool(*arguments: str | Path) -> str:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Series, and what an alert must do with them."""

    alert: Alert
    at: str
    series: Series
    expected: list[Any]

    @property
    def metrics(self) -> set[str]:
        return {name.partition("{")[0] for name in self.series}


@dataclass(slots=True, kw_only=True)
class Group:
    """Cases that have no metric in common. promtool makes a database for each group."""

    cases: list[Case]

    def document(self) -> dict[str, Any]:
        values = {name: text for case in self.cases for name, text in case.series.items()}
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": text} for name, text in values.items()],
            "alert_rule_test": [
                {
                    "eval_time": case.at,
                    "alertname": case.alert.full_name,
                    "exp_alerts": case.expected,
                }
                for case in self.cases
            ],
        }

    def takes(self, case: Case) -> bool:
        """Return whether no case shares a metric, and all or none have series."""
        others = set[str]().union(*(each.metrics for each in self.cases))
        return bool(case.series) == bool(others) and not case.metrics & others


def grouped(cases: Iterable[Iterable[Case]]) -> list[Group]:
    groups: list[Group] = []
    for case in (case for each in cases for case in each):
        group = next((group for group in groups if group.takes(case)), None)
        if group is None:
            groups.append(Group(cases=[case]))
        else:
            group.cases.append(case)
    return groups


def active(alert: Alert, summary: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "exp_labels": {"severity": alert.severity.value, **labels},
        "exp_annotations": {"summary": summary, "runbook": alert.runbook},
    }


def cases(alert: Alert) -> list[Case]:
    """Return the three cases of an alert."""
    example = EXAMPLES[alert.name]
    firing = [active(alert, example.summary, dict(example.labels))]
    absent: list[dict[str, Any]] = []
    if example.absent is not None:
        absent = [active(alert, example.absent, dict(example.absent_labels))]
    return [
        Case(alert=alert, at=example.at, series=series, expected=expected)
        for series, expected in ((example.quiet, []), (example.firing, firing), (NO_SERIES, absent))
    ]


def test_every_alert_has_an_example() -> None:
    assert set(EXAMPLES) == {alert.name for alert in ALERTS}
    assert len(EXAMPLES) == len(examples_of_money.EXAMPLES) + len(examples_of_work.EXAMPLES)
    for name, example in EXAMPLES.items():
        assert example.quiet, name
        assert example.firing, name


@needs_promtool
def test_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)


@needs_promtool
def test_alerts_are_quiet_active_and_absent_as_described(tmp_path: Path) -> None:
    file = tmp_path / "cases.yaml"
    tests = [group.document() for group in grouped(cases(alert) for alert in ALERTS)]
    document = {"rule_files": [str(RULES)], "evaluation_interval": "5m", "tests": tests}
    file.write_text(json.dumps(document), encoding="utf-8")
    promtool("test", "rules", file)


@needs_promtool
def test_prediction_ends_at_midnight(tmp_path: Path) -> None:
    expected = {"10h": 6 * 3600, "20h": 4 * 3600, "1439m": 60, "24h": 6 * 3600}
    tests = [
        {
            "expr": f"vector({HORIZON})",
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": seconds}],
        }
        for at, seconds in expected.items()
    ]
    file = tmp_path / "horizon.yaml"
    file.write_text(json.dumps({"tests": [{"interval": "1h", "promql_expr_test": tests}]}))
    promtool("test", "rules", file)
