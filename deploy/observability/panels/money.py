"""Panels: what it costs, and money without effect."""

from typing import Final

from deploy.observability.table import Panel, Query, Row, Unit

ROW: Final = Row(
    title="What does it cost, and is money going out without effect?",
    panels=(
        Panel(
            title="Cost in 24 hours",
            meaning="Settled with providers in the last 24 hours. The ledger is exact, this is not.",
            unit=Unit.USD,
            queries=(Query(expr="sum(increase(takeone_cost_nano_usd_total[1d])) / 1e9"),),
            is_number=True,
        ),
        Panel(
            title="Cost per hour by model",
            meaning="Settled with providers in the last hour.",
            unit=Unit.USD,
            queries=(
                Query(
                    expr="sum by (provider, model) (increase(takeone_cost_nano_usd_total[1h])) / 1e9 > 0",
                    legend="{{provider}} {{model}}",
                ),
            ),
        ),
        Panel(
            title="Today's spending (UTC)",
            meaning="Held and settled today, and the daily spending cap.",
            unit=Unit.USD,
            queries=(
                Query(expr="max by (kind) (takeone_service_day_nano_usd) / 1e9", legend="{{kind}}"),
            ),
        ),
        Panel(
            title="Ledger entries per hour",
            meaning="Money booked in the last hour, by kind. Overages: a price is wrong.",
            unit=Unit.USD,
            queries=(
                Query(
                    expr="sum by (kind) (increase(takeone_ledger_nano_usd_total[1h])) / 1e9",
                    legend="{{kind}}",
                ),
            ),
        ),
        Panel(
            title="Spent without a delivered result",
            meaning="Settled on executions of the last seven days that delivered nothing.",
            unit=Unit.USD,
            queries=(
                Query(
                    expr="max by (outcome) (takeone_spent_undelivered_nano_usd) / 1e9",
                    legend="{{outcome}}",
                ),
            ),
        ),
        Panel(
            title="Open holds",
            meaning="Money held for open jobs.",
            unit=Unit.USD,
            queries=(
                Query(
                    expr="max by (provider) (takeone_held_nano_usd) / 1e9", legend="{{provider}}"
                ),
            ),
        ),
        Panel(
            title="Unknown jobs and open bills",
            meaning="Create requests with an unknown outcome, and ended jobs without a cost.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="max by (provider) (takeone_jobs_unknown)", legend="unknown {{provider}}"
                ),
                Query(expr="max by (provider) (takeone_open_bills)", legend="bills {{provider}}"),
            ),
        ),
        Panel(
            title="Age of the oldest",
            meaning="Of holds, unknown jobs and open bills.",
            unit=Unit.SECONDS,
            queries=(
                Query(expr="max(takeone_hold_oldest_seconds)", legend="hold"),
                Query(expr="max(takeone_jobs_unknown_oldest_seconds)", legend="unknown job"),
                Query(expr="max(takeone_open_bills_oldest_seconds)", legend="open bill"),
            ),
        ),
        Panel(
            title="Last bills",
            meaning="Billed less settled money, including jobs without a cost yet.",
            unit=Unit.USD,
            queries=(
                Query(
                    expr="max by (provider) (takeone_bill_difference_nano_usd) / 1e9",
                    legend="{{provider}}",
                    may_be_empty="no bill has been compared",
                ),
            ),
            is_number=True,
        ),
        Panel(
            title="Purchases without use",
            meaning="Orphans and conflicts of charges in 24 hours. Each is real money.",
            unit=Unit.COUNT,
            queries=(
                Query(expr="sum(increase(takeone_orphan_jobs_total[1d]))", legend="orphans"),
                Query(expr="sum(increase(takeone_charge_conflicts_total[1d]))", legend="conflicts"),
            ),
            is_number=True,
        ),
    ),
)
