"""Alerts on money that goes out without effect."""

from typing import Final

from deploy.observability.table import Alert, Severity

HOUR: Final = 3600
DAY: Final = 24 * HOUR
UNDELIVERED: Final = 'max(takeone_spent_undelivered_nano_usd{outcome="failed"})'

ALERTS: Final = (
    Alert(
        name="SpentUndelivered",
        severity=Severity.PAGE,
        measures=(UNDELIVERED,),
        expr=f"{UNDELIVERED} - max(takeone_spent_undelivered_nano_usd"
        '{outcome="failed"} offset 1h) > 20e9',
        lasts="10m",
        summary="{{ $value | humanize }} nano-dollars more than an hour ago were spent on failed "
        "executions",
        reason="$20 an hour; change it to what you can bear. The sum covers seven days, so its "
        "growth counts and not its level.",
        look="The panel *Failures by code*. Executions that fail after a paid step have a code of "
        "a later step.",
        act="Pause the provider of the later step: the paid steps are kept, and a user's `retry` "
        "reuses them.",
        commands=("jobs list", "submits pause --provider NAME --reason TEXT"),
    ),
    Alert(
        name="WebhookPendingMoney",
        severity=Severity.TICKET,
        measures=('max(takeone_spent_undelivered_oldest_seconds{outcome="webhook_pending"})',),
        above=str(HOUR),
        summary="A paid result has not been delivered for {{ $value | humanizeDuration }}",
        reason="Four attempts in an hour have failed.",
        look="`webhook.attempted` in the log of the workers: `error` and `status_code`, by "
        "`endpoint_id`.",
        act="Inform the user if the receiver is theirs; attempts continue for three days, and "
        "`GET /api/executions/{id}` has the result.",
        commands=("webhooks list --state pending", "webhooks resend EVENT"),
    ),
    Alert(
        name="UnknownSendsStay",
        severity=Severity.TICKET,
        measures=("max by (provider) (takeone_jobs_unknown_oldest_seconds)",),
        above=str(HOUR // 4),
        lasts="5m",
        summary="{{ $labels.provider }}: a create request has had an unknown outcome for "
        "{{ $value | humanizeDuration }}",
        reason="Lists of the providers resolve a send within minutes.",
        look="*Create calls* and `list` in `takeone_provider_calls_total`: is the list available? "
        "`jobs show` has each look.",
        act="Find the job in the provider's dashboard. Adopt it, or settle it with 0 if the "
        "provider confirms that it has no such job: [settle by hand](settle-by-hand.md).",
        commands=(
            "jobs list --state unknown",
            "jobs show JOB",
            "jobs adopt JOB PROVIDER_JOB_ID",
        ),
    ),
    Alert(
        name="UnknownSendsMany",
        severity=Severity.PAGE,
        measures=("sum(max by (provider) (takeone_jobs_unknown))",),
        above="10",
        lasts="10m",
        summary="{{ $value }} create requests have an unknown outcome",
        reason="Single answers get lost; ten at once are an outage that costs money.",
        look="*Create calls* by provider, and the status page of the provider.",
        act="Pause the provider until its lists are available again. Nothing is sent twice, and "
        "the look-ups continue.",
        commands=("submits pause --provider NAME --reason TEXT", "jobs list --state unknown"),
    ),
    Alert(
        name="OrphanBought",
        severity=Severity.TICKET,
        measures=("sum by (provider) (increase(takeone_orphan_jobs_total[15m]))",),
        above="0",
        summary="{{ $labels.provider }}: a purchase belongs to no step",
        reason="Each one is real money.",
        look="`jobs list --state orphans`: which send was replaced, and why it answered late.",
        act="Nothing is lost: the cost is in the ledger, and a retry of the execution uses the "
        "result. Ask the provider for a refund if its list was wrong.",
        commands=(
            "jobs list --state orphans",
            "jobs show JOB",
            "jobs refund JOB USD --reason TEXT",
        ),
    ),
    Alert(
        name="ChargeConflict",
        severity=Severity.TICKET,
        measures=("sum by (provider) (increase(takeone_charge_conflicts_total[15m]))",),
        above="0",
        summary="{{ $labels.provider }}: a bill differs from the amount that ended its charge",
        reason="Each one is a difference between ledger and bill.",
        look="`charge.conflicted` in the log of the workers has the job; `jobs show` has both "
        "amounts.",
        act="Book the difference: `jobs refund` if the provider billed less. If it billed more, "
        "see [settle by hand](settle-by-hand.md).",
        commands=("jobs show JOB", "jobs refund JOB USD --reason TEXT"),
    ),
    Alert(
        name="OpenBillOld",
        severity=Severity.TICKET,
        measures=("max by (provider) (takeone_open_bills_oldest_seconds)",),
        above=str(DAY),
        lasts="10m",
        summary="{{ $labels.provider }}: a job ended {{ $value | humanizeDuration }} ago and has "
        "no cost",
        reason="Providers report costs within minutes.",
        look="`jobs list --state open-bills`, then `jobs show`.",
        act="Take the cost from the provider's dashboard and settle it by hand.",
        commands=("jobs list --state open-bills", "jobs show JOB", "jobs settle JOB --usd USD"),
    ),
    Alert(
        name="HoldOld",
        severity=Severity.TICKET,
        measures=("max by (provider) (takeone_hold_oldest_seconds)",),
        above=str(3 * DAY),
        lasts="10m",
        summary="{{ $labels.provider }}: money has been held for {{ $value | humanizeDuration }}",
        reason="Longer than the longest queue and every horizon. An approval may take longer by "
        "its plan.",
        look="`jobs list` with the oldest first: an unknown job, an open bill, or an execution "
        "that waits for an approval.",
        act="As for the state that it shows.",
        commands=("jobs list", "jobs show JOB"),
    ),
    Alert(
        name="CostAboveHold",
        severity=Severity.TICKET,
        measures=('sum(increase(takeone_ledger_nano_usd_total{kind="overage"}[1h]))',),
        above="0",
        summary="{{ $value | humanize }} nano-dollars were billed above the holds",
        reason="A hold is the worst price, so a price in the price book is wrong.",
        look="`jobs show` of recent jobs of the model in *Cost per hour by model*.",
        act="Correct the price of the model: [add a provider or a model](add-a-provider.md).",
        commands=("jobs show JOB", "ledger check"),
    ),
    Alert(
        name="LedgerFindings",
        severity=Severity.PAGE,
        measures=("max(takeone_ledger_check_findings)",),
        above="0",
        summary="The last check of the ledger has {{ $value }} findings",
        reason="The ledger is exact: a finding is a defect or a manual change of rows.",
        look="The output of `ledger check`: one line for each finding.",
        act="Keep the output. Pause paid calls if money is wrong. Repair counters only after "
        "the cause is known.",
        commands=(
            "ledger check",
            "submits pause --reason TEXT",
            "ledger check --repair --dry-run",
        ),
    ),
    Alert(
        name="BillDifference",
        severity=Severity.PAGE,
        measures=("max by (provider) (takeone_bill_check_findings)",),
        above="0",
        summary="{{ $labels.provider }}: {{ $value }} lines of the bill differ from the ledger",
        reason="The ledger equals the bill to the nano-dollar, or to the published unit price.",
        look="The output of `ledger check --provider-bill`: each line names a job and both amounts.",
        act="`bill-missing`: another program uses the key. `bill-extra`: ask for the bill of the "
        "whole period. `bill-different`: the price book, or a refund that is not booked. Compare "
        "again afterwards: the alert looks at the last comparison.",
        commands=(
            "ledger check --provider-bill FILE --provider NAME",
            "ledger import-bill FILE --provider NAME",
            "jobs show JOB",
            "jobs refund JOB USD --reason TEXT",
        ),
        may_be_empty="no bill has been compared",
    ),
    Alert(
        name="LedgerUnchecked",
        severity=Severity.TICKET,
        measures=("time() - max(takeone_ledger_check_timestamp_seconds)",),
        above=str(26 * HOUR),
        lasts="10m",
        summary="The ledger was last checked {{ $value | humanizeDuration }} ago",
        reason="The check runs once a day; two hours are its reserve. Before the first check the "
        "time is 1970.",
        look="The scheduler that runs `ledger check`.",
        act="Run it, and schedule it daily.",
        commands=("ledger check",),
    ),
)
