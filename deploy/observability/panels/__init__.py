"""The panels of the dashboard, in the order in which an operator asks."""

from typing import Final

from deploy.observability.panels import money, objectives, overview, providers, webhooks, workers

ROWS: Final = (
    overview.ROW,
    objectives.ROW,
    money.ROW,
    providers.ROW,
    webhooks.ROW,
    workers.ROW,
)
NOT_SHOWN: Final = {
    "takeone_executions_started_total": "executions are counted by their end",
    "takeone_executions_open_oldest_seconds": "an old execution may wait by design; late ones count",
    "takeone_media_isolation": "it is set at the start of a worker, and logged there",
}
"""Metrics without a panel or an alert, and the reason."""
