"""The dashboard of Grafana: the panels of the table, as JSON."""

import json
from collections.abc import Iterator
from typing import Any, Final

from deploy.observability.panels import ROWS
from deploy.observability.table import Panel, Query

TITLE: Final = "Takeone"
UID: Final = "takeone"
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS: Final = 24
WIDTH: Final = 8
HEIGHT: Final = 7
SCHEMA_VERSION: Final = 39


def render() -> str:
    """Return the dashboard. Its data source is a variable, so that it can be imported anywhere."""
    dashboard: dict[str, Any] = {
        "uid": UID,
        "title": TITLE,
        "tags": ["takeone"],
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data"}
            ]
        },
        "panels": list(_panels()),
    }
    return json.dumps(dashboard, indent=2, sort_keys=True) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    """Yield the panels, three in a line, below the title of their row."""
    number, y = 0, 0
    for row in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        }
        y += 1
        for index, panel in enumerate(row.panels):
            number += 1
            x = index * WIDTH % COLUMNS
            if index and x == 0:
                y += HEIGHT
            yield _panel(panel, number, x, y)
        y += HEIGHT


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "stat" if panel.is_number else "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [_target(query, index) for index, query in enumerate(panel.queries)],
    }


def _target(query: Query, index: int) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
    }
