"""Alerts on spending above the plan."""

from typing import Final

from deploy.observability.table import Alert, Severity

_NAME: Final = "takeone_service_day_nano_usd"
SPENT: Final = f'sum(max by (kind) ({_NAME}{{kind=~"held|settled"}}))'
LIMIT: Final = f'max({_NAME}{{kind="limit"}})'
HORIZON: Final = "scalar(clamp_max(vector(86400 - time() % 86400), 21600))"
"""Six hours, or the seconds to midnight UTC, when the sums begin again."""
PREDICTED: Final = (
    f'sum(max by (kind) (predict_linear({_NAME}{{kind=~"held|settled"}}[30m], {HORIZON})))'
)
COST_RATE: Final = "sum(rate(takeone_cost_nano_usd_total[10m])) * 3600"
USUAL_RATE: Final = "sum(rate(takeone_cost_nano_usd_total[1d] offset 1h)) * 3600"

ALERTS: Final = (
    Alert(
        name="DayBudget",
        severity=Severity.TICKET,
        measures=(SPENT, LIMIT),
        expr=f"{SPENT} / {LIMIT} > 0.8",
        summary="{{ $value | humanizePercentage }} of the daily spending cap are held or spent",
        reason="At 100 % every order of every user is refused with 503.",
        look="*Today's spending*: is it held or settled? *Cost per hour by model* shows what grows.",
        act="Raise the cap if the growth is wanted. Otherwise find the user.",
        commands=("service show", "users alarms", "service set-daily-limit USD"),
        may_be_empty="without a cap",
    ),
    Alert(
        name="DayBudgetEnds",
        severity=Severity.PAGE,
        measures=(SPENT, LIMIT),
        expr=f"{PREDICTED} > {LIMIT} and {SPENT} > 0.5 * {LIMIT}",
        lasts="10m",
        summary="At this rate the daily spending cap is reached within six hours",
        reason="Time to decide before orders are refused. Below half of the cap, a prediction is "
        "a guess.",
        look="As for `TakeoneDayBudget`.",
        act="Raise the cap, or disable the key or user that spends.",
        commands=("service show", "users alarms", "service set-daily-limit USD"),
        may_be_empty="without a cap",
    ),
    Alert(
        name="SpendSpike",
        severity=Severity.TICKET,
        measures=(COST_RATE,),
        expr=f"{COST_RATE} > 4 * {USUAL_RATE} and {COST_RATE} > 20e9",
        lasts="10m",
        summary="{{ $value | humanize }} nano-dollars an hour, four times the rate of the day before",
        reason="A leaked key looks so. Below $20 an hour, the ratio means little. On the first day of "
        "Prometheus, every hour above $20 counts.",
        look="*Cost per hour by model*, and the users with an alarm.",
        act="Ask the user. If a key has leaked, revoke it and the keys that it made.",
        commands=("users alarms", "keys list USER", "keys revoke KEY", "users disable USER"),
    ),
    Alert(
        name="UserSpendSpike",
        severity=Severity.TICKET,
        measures=("sum(increase(takeone_user_spend_spikes_total[15m]))",),
        above="0",
        summary="A user's orders of one hour cost more than on any of their last seven days",
        reason="Each user is reported once a day. `USER_SPEND_ALARM_USD` is the least amount.",
        look="`users alarms`: the user, the time and the amount.",
        act="As for `TakeoneSpendSpike`.",
        commands=(
            "users alarms",
            "keys list USER",
            "keys revoke KEY",
            "users disable USER",
            "executions cancel --user USER",
        ),
    ),
    Alert(
        name="UserBudgetReached",
        severity=Severity.TICKET,
        measures=(
            'sum by (measure) (increase(takeone_user_budget_alerts_total{percent="100"}[15m]))',
        ),
        above="0",
        summary="A user has reached the monthly limit of {{ $labels.measure }}",
        reason="From now on, the user's orders are refused.",
        look="`users alarms`: the user.",
        act="Raise the limit, if that is agreed.",
        commands=("users alarms", "users list", "users set-limits USER --monthly-usd USD"),
    ),
    Alert(
        name="SubmitsPaused",
        severity=Severity.TICKET,
        measures=('max by (scope) (takeone_submits_paused{scope!="database"})',),
        above="0",
        lasts="1h",
        summary="Paid calls of the scope {{ $labels.scope }} have been paused for an hour",
        reason="Executions wait, and fail at their deadlines.",
        look="`submits show`: who paused what, and why.",
        act="Resume when the reason is gone.",
        commands=("submits show", "audit list", "submits resume --provider NAME"),
    ),
    Alert(
        name="DatabaseRestored",
        severity=Severity.PAGE,
        measures=('max(takeone_submits_paused{scope="database"})',),
        above="0",
        summary="The database was restored from an older backup: paid calls are paused",
        reason="Jobs marked unsent may already have been billed. Workers end with code 3.",
        look="[Restore a database](restore-a-database.md).",
        act="Run `recover`, which rebuilds the missing rows and ends the pause.",
        commands=("submits show", "recover"),
    ),
)
