"""Service level objectives, and alerts on how fast their error budgets are used.

An alert compares two windows: the long one shows that it matters, the short one that it
continues. Ratios over few events jump, so each alert needs a number of events in its long window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from core.domain.failures import FailureCode
from deploy.observability.table import Alert, Recording, Severity

CALLERS_CODES: Final = (
    FailureCode.CONTENT_MODERATED,
    FailureCode.PROVIDER_REJECTED_INPUT,
    FailureCode.PROVIDER_KEY_REFUSED,
    FailureCode.MAX_COST_EXCEEDED,
    FailureCode.BUDGET_EXCEEDED,
    FailureCode.KEY_SPEND_LIMIT_EXCEEDED,
    FailureCode.MEDIA_UNSUPPORTED,
    FailureCode.MEDIA_DAMAGED,
    FailureCode.MEDIA_TOO_LARGE,
    FailureCode.MEDIA_LIMIT_REACHED,
    FailureCode.ASSET_DELETED,
    FailureCode.APPROVAL_EXPIRED,
    FailureCode.APPROVAL_REJECTED,
    FailureCode.CANCELLED,
)
"""Failures that the caller causes: they use no error budget."""
_OURS: Final = f'{{code!~"{"|".join(CALLERS_CODES)}"}}'
PERIOD_DAYS: Final = 30
LEAST_EVENTS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A promise about a share of events in 30 days.

    errors, total: counts of events in `{window}`. promise: what a good event is. look, act,
    commands: as for an alert.
    """

    name: str
    metric: str
    target: float
    promise: str
    errors: str
    total: str
    look: str
    act: str
    commands: tuple[str, ...]

    @property
    def budget(self) -> float:
        """Return the share of events that may fail."""
        return round(1 - self.target, 6)

    def ratio(self, window: str) -> str:
        """Return the name under which Prometheus records the share of errors in a window."""
        return f"takeone:{self.metric}_error_ratio:{window}"

    def count(self, window: str) -> str:
        """Return the name under which Prometheus records the number of events in a window."""
        return f"takeone:{self.metric}_events:{window}"


def _increase(metric: str, labels: str = "") -> str:
    return f"sum(increase({metric}{labels}[{{window}}]))"


_FAILED = _increase("takeone_executions_failed_total", _OURS)
_FIRST = "takeone_webhook_first_attempt_seconds"
_MINUTE = '{le="60.0"}'

OBJECTIVES: Final = (
    Objective(
        name="Executions",
        metric="executions",
        target=0.99,
        promise="An execution that is neither cancelled nor failed by its caller completes.",
        errors=_FAILED,
        total=f"{_increase('takeone_executions_completed_total')} + {_FAILED}",
        look="The panel *Failures by code*, then *Create calls* of the provider that the code "
        "points to. `submission_unknown` and `provider_…` are the provider's; `storage_…`, "
        "`deadline_exceeded` and `internal_error` are this service's.",
        act="Pause a provider that fails most jobs, so that its executions wait or use an "
        "alternative. After a rollout, go back to the release before it.",
        commands=("providers show", "jobs list", "submits pause --provider NAME --reason TEXT"),
    ),
    Objective(
        name="Api",
        metric="api",
        target=0.999,
        promise="A request is answered with a status below 500.",
        errors=_increase("takeone_api_responses_total", '{class="5xx"}'),
        total=_increase("takeone_api_responses_total"),
        look="`http.request_served` with `status` 500 and above in the log of the API: the route "
        "names the part. 503 with `service_budget_exceeded` or `provider_not_accepting` is a limit "
        "or a provider; other 503 are PostgreSQL or Temporal.",
        act="Restore what is unavailable; raise the daily spending cap if it is reached. After a "
        "rollout, go back to the release before it.",
        commands=("service show", "providers show"),
    ),
    Objective(
        name="Webhooks",
        metric="webhooks",
        target=0.99,
        promise="The first attempt of a webhook is made within a minute of its event.",
        errors=f"{_increase(f'{_FIRST}_count')} - {_increase(f'{_FIRST}_bucket', _MINUTE)}",
        total=_increase(f"{_FIRST}_count"),
        look="The panels *Wait for a slot* and *Queue depth* of the queue `webhooks`, and "
        "*Reconciler*: lost first attempts are started there.",
        act="Add workers. If the reconciler is silent, see `TakeoneReconcilerSilent`.",
        commands=("submits show",),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """How fast the error budget is used. factor: 1 uses all of it in the period."""

    name: str
    severity: Severity
    factor: float
    long: str
    short: str
    lasts: str
    reason: str


BURNS: Final = (
    Burn(
        name="BurnFast",
        severity=Severity.PAGE,
        factor=14.4,
        long="1h",
        short="5m",
        lasts="2m",
        reason="2 % of the budget of 30 days in an hour",
    ),
    Burn(
        name="Burn",
        severity=Severity.PAGE,
        factor=6.0,
        long="6h",
        short="30m",
        lasts="15m",
        reason="5 % of the budget of 30 days in six hours",
    ),
    Burn(
        name="BurnSlow",
        severity=Severity.TICKET,
        factor=1.0,
        long="3d",
        short="6h",
        lasts="1h",
        reason="10 % of the budget of 30 days in three days",
    ),
)
RATIO_WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")
COUNT_WINDOWS: Final = ("1h", "6h", "3d")


def _recordings() -> Iterator[Recording]:
    for objective in OBJECTIVES:
        for window in RATIO_WINDOWS:
            errors, total = (
                text.replace("{window}", window) for text in (objective.errors, objective.total)
            )
            yield Recording(
                name=objective.ratio(window),
                expr=f"({errors}) / (({total}) > 0)",
                meaning=f"{objective.name}: share of errors in {window}",
            )
        for window in COUNT_WINDOWS:
            yield Recording(
                name=objective.count(window),
                expr=objective.total.replace("{window}", window),
                meaning=f"{objective.name}: events in {window}",
            )


def _burn_alerts() -> Iterator[Alert]:
    for objective in OBJECTIVES:
        for burn in BURNS:
            threshold = f"{burn.factor * objective.budget:.6g}"
            long, short, count = (
                objective.ratio(burn.long),
                objective.ratio(burn.short),
                objective.count(burn.long),
            )
            yield Alert(
                name=objective.name + burn.name,
                severity=burn.severity,
                measures=(long, short, count),
                expr=f"{long} > {threshold} and {short} > {threshold} and {count} >= {LEAST_EVENTS}",
                lasts=burn.lasts,
                summary=f"{objective.name}: {{{{ $value | humanizePercentage }}}} of the last "
                f"{burn.long} failed, the objective is {objective.target:.1%}",
                reason=f"{burn.reason}. {objective.promise}",
                look=objective.look,
                act=objective.act,
                commands=objective.commands,
            )


RECORDINGS: Final = tuple(_recordings())
BURN_ALERTS: Final = tuple(_burn_alerts())
