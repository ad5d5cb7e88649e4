"""Panels: the providers."""

from typing import Final

from deploy.observability.panels.queries import NO_FAILURES, quantile, rate
from deploy.observability.table import Panel, Query, Row, Unit

CREATE: Final = '{operation="create"}'

ROW: Final = Row(
    title="Do the providers work?",
    panels=(
        Panel(
            title="Create calls",
            meaning="Create requests per second, by provider and outcome.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(
                    expr="sum by (provider, outcome) "
                    f"({rate('takeone_provider_calls_total', CREATE)})",
                    legend="{{provider}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            title="Response time",
            meaning="P95 of a provider's API, by operation.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    expr=quantile(
                        0.95, "takeone_provider_call_duration_seconds", by="provider, operation"
                    ),
                    legend="{{provider}} {{operation}}",
                ),
            ),
        ),
        Panel(
            title="Duration of jobs",
            meaning="P95 from the create request to the end, by model.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    expr=quantile(0.95, "takeone_job_duration_seconds", by="provider, model"),
                    legend="{{provider}} {{model}}",
                ),
            ),
        ),
        Panel(
            title="Jobs in flight",
            meaning="Jobs that may be running at a provider, over all workers.",
            unit=Unit.COUNT,
            queries=(
                Query(expr="max by (provider) (takeone_provider_in_flight)", legend="{{provider}}"),
            ),
        ),
        Panel(
            title="Circuit breakers",
            meaning="1 while nothing is sent to a provider; trips in 24 hours.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="max by (provider) (takeone_provider_breaker_open)", legend="{{provider}}"
                ),
                Query(
                    expr="sum by (provider) (increase(takeone_provider_breaker_trips_total[1d]))",
                    legend="trips {{provider}}",
                ),
            ),
        ),
        Panel(
            title="Deferred submits",
            meaning="Submits per second that wait for capacity, a rate, or a breaker.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(
                    expr=f"sum by (provider, outcome) ({rate('takeone_submits_held_back_total')}) > 0",
                    legend="{{provider}} {{outcome}}",
                    may_be_empty="nothing was deferred yet",
                ),
            ),
        ),
        Panel(
            title="Free failures and alternatives",
            meaning="Jobs that were sent again without a cost, or at an alternative model, in an "
            "hour.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="sum by (provider, model) "
                    "(increase(takeone_free_failures_resent_total[1h])) > 0",
                    legend="again {{provider}} {{model}}",
                    may_be_empty=NO_FAILURES,
                ),
                Query(
                    expr="sum by (provider, next_provider) (increase(takeone_failovers_total[1h]))",
                    legend="{{provider}} to {{next_provider}}",
                    may_be_empty=NO_FAILURES,
                ),
            ),
        ),
        Panel(
            title="Callbacks",
            meaning="Callbacks of providers per second, by outcome, and the age of a job by which "
            "nearly all had arrived.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(
                    expr=f"sum by (provider, outcome) ({rate('takeone_callbacks_total')}) > 0",
                    legend="{{provider}} {{outcome}}",
                    may_be_empty="callbacks need a public address",
                ),
                Query(
                    expr="max by (provider, model) (takeone_callback_age_seconds)",
                    legend="age {{provider}} {{model}}",
                    may_be_empty="a model needs twenty recent jobs",
                ),
            ),
        ),
        Panel(
            title="Late reads of jobs",
            meaning="P90 of how late a job's status is read, and rounds that a rate limited.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    expr=quantile(0.9, "takeone_job_look_delay_seconds", by="provider"),
                    legend="{{provider}}",
                    may_be_empty="quick jobs are not polled",
                ),
                Query(
                    expr=f"sum by (provider) ({rate('takeone_job_looks_limited_total')})",
                    legend="limited {{provider}}",
                    may_be_empty="no read was limited yet",
                ),
            ),
        ),
    ),
)
