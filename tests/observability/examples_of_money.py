"""Examples of the alerts on money and spending."""

from typing import Final

from tests.observability.example import Example

FAL: Final = {"provider": "fal"}
UNDELIVERED: Final = 'takeone_spent_undelivered_nano_usd{outcome="failed", instance="w1"}'
PENDING: Final = (
    'takeone_spent_undelivered_oldest_seconds{outcome="webhook_pending", instance="w1"}'
)
UNKNOWN_AGE: Final = 'takeone_jobs_unknown_oldest_seconds{provider="fal", instance="w1"}'
UNKNOWN: Final = 'takeone_jobs_unknown{{provider="{}", instance="w1"}}'
DAY: Final = 'takeone_service_day_nano_usd{{kind="{}", instance="w1"}}'
COST: Final = 'takeone_cost_nano_usd_total{provider="fal", model="m", instance="w1"}'
PAUSED: Final = 'takeone_submits_paused{{scope="{}", instance="w1"}}'

EXAMPLES: Final[dict[str, Example]] = {
    "SpentUndelivered": Example(
        quiet={UNDELIVERED: "90000000000x120"},  # much, but long ago
        firing={UNDELIVERED: "0x70 21000000000x50"},
        at="90m",
        summary="21G nano-dollars more than an hour ago were spent on failed executions",
    ),
    "WebhookPendingMoney": Example(
        quiet={PENDING: "3000x60"},
        firing={PENDING: "4000x60"},
        summary="A paid result has not been delivered for 1h 6m 40s",
    ),
    "UnknownSendsStay": Example(
        quiet={UNKNOWN_AGE: "300x60"},
        firing={UNKNOWN_AGE: "1200x60"},
        labels=FAL,
        summary="fal: a create request has had an unknown outcome for 20m 0s",
    ),
    "UnknownSendsMany": Example(
        # Two workers report after a change of the leader: they see the same jobs.
        quiet={UNKNOWN.format("fal"): "9x60", UNKNOWN.format("fal").replace("w1", "w2"): "9x60"},
        firing={UNKNOWN.format("fal"): "6x60", UNKNOWN.format("replicate"): "6x60"},
        summary="12 create requests have an unknown outcome",
    ),
    "OrphanBought": Example(
        quiet={'takeone_orphan_jobs_total{provider="fal", instance="w1"}': "1x60"},
        firing={'takeone_orphan_jobs_total{provider="fal", instance="w1"}': "0x25 1x35"},
        labels=FAL,
        summary="fal: a purchase belongs to no step",
    ),
    "ChargeConflict": Example(
        quiet={'takeone_charge_conflicts_total{provider="fal", instance="w1"}': "1x60"},
        firing={'takeone_charge_conflicts_total{provider="fal", instance="w1"}': "0x25 1x35"},
        labels=FAL,
        summary="fal: a bill differs from the amount that ended its charge",
    ),
    "OpenBillOld": Example(
        quiet={'takeone_open_bills_oldest_seconds{provider="fal"}': "80000x60"},
        firing={'takeone_open_bills_oldest_seconds{provider="fal"}': "90000x60"},
        labels=FAL,
        summary="fal: a job ended 1d 1h 0m 0s ago and has no cost",
    ),
    "HoldOld": Example(
        quiet={'takeone_hold_oldest_seconds{provider="fal"}': "200000x60"},
        firing={'takeone_hold_oldest_seconds{provider="fal"}': "270000x60"},
        labels=FAL,
        summary="fal: money has been held for 3d 3h 0m 0s",
    ),
    "CostAboveHold": Example(
        quiet={'takeone_ledger_nano_usd_total{kind="overage"}': "5000x90"},
        firing={'takeone_ledger_nano_usd_total{kind="overage"}': "0x30 5900x60"},
        at="60m",
        summary="5.9k nano-dollars were billed above the holds",
    ),
    "LedgerFindings": Example(
        quiet={'takeone_ledger_check_findings{check="ledger"}': "0x60"},
        firing={'takeone_ledger_check_findings{check="ledger"}': "3x60"},
        summary="The last check of the ledger has 3 findings",
    ),
    "BillDifference": Example(
        quiet={'takeone_bill_check_findings{provider="fal"}': "0x60"},
        firing={'takeone_bill_check_findings{provider="fal"}': "2x60"},
        labels=FAL,
        summary="fal: 2 lines of the bill differ from the ledger",
    ),
    "LedgerUnchecked": Example(
        # promtool's clock starts in 1970.
        quiet={'takeone_ledger_check_timestamp_seconds{check="ledger"}': "0x60"},
        firing={'takeone_ledger_check_timestamp_seconds{check="ledger"}': "-100000x60"},
        summary="The ledger was last checked 1d 4h 16m 40s ago",
    ),
    "DayBudget": Example(
        quiet={
            DAY.format("held"): "30x60",
            DAY.format("settled"): "40x60",
            DAY.format("limit"): "100x60",
        },
        firing={
            DAY.format("held"): "30x60",
            DAY.format("settled"): "60x60",
            DAY.format("limit"): "100x60",
        },
        summary="90% of the daily spending cap are held or spent",
    ),
    "DayBudgetEnds": Example(
        quiet={
            DAY.format("held"): "10x60",
            DAY.format("settled"): "3000+4x60",
            DAY.format("limit"): "5000x60",
        },
        firing={
            DAY.format("held"): "10x60",
            DAY.format("settled"): "3000+4x60",
            DAY.format("limit"): "4500x60",
        },
        summary="At this rate the daily spending cap is reached within six hours",
    ),
    "SpendSpike": Example(
        quiet={COST: "0+5000000x100 500000000+250000000x60"},  # $15 an hour, fifty times as before
        firing={COST: "0+50000000x100 5000000000+500000000x60"},
        at="130m",
        summary="30G nano-dollars an hour, four times the rate of the day before",
    ),
    "UserSpendSpike": Example(
        quiet={"takeone_user_spend_spikes_total": "1x60"},
        firing={"takeone_user_spend_spikes_total": "0x25 1x35"},
        summary="A user's orders of one hour cost more than on any of their last seven days",
    ),
    "UserBudgetReached": Example(
        quiet={'takeone_user_budget_alerts_total{measure="usd", percent="80"}': "0x25 1x35"},
        firing={'takeone_user_budget_alerts_total{measure="usd", percent="100"}': "0x25 1x35"},
        labels={"measure": "usd"},
        summary="A user has reached the monthly limit of usd",
    ),
    "SubmitsPaused": Example(
        quiet={PAUSED.format("provider"): "0x60 1x60"},
        firing={PAUSED.format("provider"): "1x120"},
        at="90m",
        labels={"scope": "provider"},
        summary="Paid calls of the scope provider have been paused for an hour",
    ),
    "DatabaseRestored": Example(
        quiet={PAUSED.format("database"): "0x60", PAUSED.format("all"): "1x60"},
        firing={PAUSED.format("database"): "1x60"},
        summary="The database was restored from an older backup: paid calls are paused",
    ),
}
