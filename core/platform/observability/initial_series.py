"""Counters that start at zero.

Prometheus sees no increase of a counter whose first value is 1, so an alert on the first event
would stay silent. Counters whose label values are known where they are declared start there.
"""

from collections.abc import Iterable
from typing import Final

from core.domain.failures import FailureCode
from core.domain.messages.webhooks import AttemptOutcome, DisabledReason
from core.domain.plans import PlanType
from core.domain.states import ExecutionStatus
from core.platform.observability import metrics

END_STATUSES: Final = (
    ExecutionStatus.COMPLETED,
    ExecutionStatus.FAILED,
    ExecutionStatus.CANCELLED,
)


def start_at_zero(providers: Iterable[str]) -> None:
    """Export the counters of executions, webhooks and these providers with the value 0."""
    for type_ in PlanType:
        for counter in (
            metrics.EXECUTIONS_STARTED,
            metrics.EXECUTIONS_COMPLETED,
            metrics.EXECUTIONS_CANCELLED,
        ):
            counter.labels(type_)
        for end in END_STATUSES:
            metrics.EXECUTION_DURATION.labels(type_, end)
        for code in FailureCode:
            metrics.EXECUTIONS_FAILED.labels(type_, code)
    for outcome in AttemptOutcome:
        metrics.WEBHOOK_ATTEMPTS.labels(outcome)
    for reason in DisabledReason:
        metrics.ENDPOINTS_DISABLED.labels(reason)
    for provider in providers:
        metrics.ORPHAN_JOBS.labels(provider)
        metrics.CHARGE_CONFLICTS.labels(provider)
        metrics.LOOKS_LIMITED.labels(provider)
        for code in (FailureCode.PROVIDER_AUTH_FAILED, FailureCode.PROVIDER_CREDIT_EXHAUSTED):
            metrics.BREAKER_TRIPS.labels(provider, code)
