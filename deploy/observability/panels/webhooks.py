"""Panels: webhooks to customers."""

from typing import Final

from deploy.observability.panels.queries import rate
from deploy.observability.table import Panel, Query, Row, Unit

ROW: Final = Row(
    title="Do webhooks arrive?",
    panels=(
        Panel(
            title="Webhook attempts",
            meaning="Attempts per second by outcome, and attempts postponed by a limit.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(
                    expr=f"sum by (outcome) ({rate('takeone_webhook_attempts_total')})",
                    legend="{{outcome}}",
                ),
                Query(expr=f"sum({rate('takeone_webhooks_put_back_total')})", legend="postponed"),
            ),
        ),
        Panel(
            title="Pending webhooks",
            meaning="Deliveries that have not ended.",
            unit=Unit.COUNT,
            queries=(Query(expr="max by (type) (takeone_webhooks_pending)", legend="{{type}}"),),
        ),
        Panel(
            title="Oldest pending webhook",
            meaning="Attempts continue for three days.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    expr="max by (type) (takeone_webhooks_pending_oldest_seconds)",
                    legend="{{type}}",
                ),
                Query(
                    expr="max by (outcome) (takeone_spent_undelivered_oldest_seconds)",
                    legend="spent, {{outcome}}",
                ),
            ),
        ),
        Panel(
            title="Disabled endpoints",
            meaning="Endpoints disabled in 24 hours, by reason.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="sum by (code) (increase(takeone_endpoints_disabled_total[1d]))",
                    legend="{{code}}",
                ),
            ),
            is_number=True,
        ),
    ),
)
