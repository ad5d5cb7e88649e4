"""Counters that start at zero.

Prometheus sees no increase of a counter whose first value is 1, so an alert on the first event
would stay silent, and the first cost of each model would be missing. Counters whose label values
are known where they are counted start there.
"""

from typing import Final

from core.domain.failures import FailureCode
from core.domain.messages.webhooks import AttemptOutcome, DisabledReason
from core.domain.plans import PlanType
from core.domain.states import ExecutionStatus
from core.platform.observability import metrics
from core.providers.port import CreateOutcome
from core.providers.registry import Providers
from core.store.jobs.callbacks import CallbackOutcome
from core.store.providers.capacity import DeferredBy

END_STATUSES: Final = (
    ExecutionStatus.COMPLETED,
    ExecutionStatus.FAILED,
    ExecutionStatus.CANCELLED,
)


def start_at_zero(providers: Providers) -> None:
    """Export the counters of executions, webhooks, providers and models with the value 0."""
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
    for name in providers.known_names:
        _start_provider(name)
        known = providers.known(name)
        for model in known.models if known is not None else ():
            metrics.COST_NANO_USD.labels(name, model.id)
            metrics.FREE_FAILURES_RESENT.labels(name, model.id)


def _start_provider(name: str) -> None:
    for counter in (metrics.ORPHAN_JOBS, metrics.CHARGE_CONFLICTS, metrics.LOOKS_LIMITED):
        counter.labels(name)
    for code in (FailureCode.PROVIDER_AUTH_FAILED, FailureCode.PROVIDER_CREDIT_EXHAUSTED):
        metrics.BREAKER_TRIPS.labels(name, code)
    for created in CreateOutcome:
        metrics.PROVIDER_CALLS.labels(name, "create", created)
    for reason in DeferredBy:
        metrics.SUBMITS_HELD_BACK.labels(name, reason)
    for received in CallbackOutcome:
        metrics.CALLBACKS.labels(name, received)
