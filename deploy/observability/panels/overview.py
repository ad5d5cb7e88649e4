"""Panels: how much work is done, and how well."""

from typing import Final

from deploy.observability.panels.queries import NO_FAILURES, quantile, rate, ratio
from deploy.observability.table import Panel, Query, Row, Unit

COMPLETED: Final = "sum(increase(takeone_executions_completed_total[1h]))"
FAILED: Final = "sum(increase(takeone_executions_failed_total[1h]))"
DURATION: Final = "takeone_execution_duration_seconds"
COMPLETED_ONLY: Final = '{outcome="completed"}'

ROW: Final = Row(
    title="How much work is done, and how well?",
    panels=(
        Panel(
            title="Executions per hour",
            meaning="Executions that ended in the last hour, by end.",
            unit=Unit.COUNT,
            queries=(
                Query(expr=COMPLETED, legend="completed"),
                Query(expr=FAILED, legend="failed"),
                Query(
                    expr="sum(increase(takeone_executions_cancelled_total[1h]))", legend="cancelled"
                ),
            ),
        ),
        Panel(
            title="Success rate",
            meaning="Completed among completed and failed executions of the last hour.",
            unit=Unit.RATIO,
            queries=(Query(expr=ratio(COMPLETED, f"({COMPLETED} + {FAILED})")),),
            is_number=True,
        ),
        Panel(
            title="Time to a result",
            meaning="From acceptance to the end of completed executions, including all waits.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    expr=ratio(
                        f"sum({rate(f'{DURATION}_sum', COMPLETED_ONLY)})",
                        f"sum({rate(f'{DURATION}_count', COMPLETED_ONLY)})",
                    ),
                    legend="mean",
                ),
                Query(expr=quantile(0.95, DURATION, labels=COMPLETED_ONLY), legend="P95"),
            ),
        ),
        Panel(
            title="Failures by code",
            meaning="Executions that failed in the last hour, by failure code.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="sum by (code) (increase(takeone_executions_failed_total[1h])) > 0",
                    legend="{{code}}",
                    may_be_empty=NO_FAILURES,
                ),
            ),
        ),
        Panel(
            title="Open executions",
            meaning="Executions that have not ended.",
            unit=Unit.COUNT,
            queries=(
                Query(expr="max by (status) (takeone_executions_open)", legend="{{status}}"),
                Query(expr="max by (reason) (takeone_executions_late)", legend="{{reason}}"),
            ),
        ),
        Panel(
            title="API responses",
            meaning="Responses per second, by class of status.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(
                    expr=f"sum by (class) ({rate('takeone_api_responses_total')})",
                    legend="{{class}}",
                ),
            ),
        ),
        Panel(
            title="API response time",
            meaning="P95 over all routes. A cancel may take five seconds.",
            unit=Unit.SECONDS,
            queries=(
                Query(expr=quantile(0.95, "takeone_api_request_duration_seconds"), legend="P95"),
            ),
        ),
        Panel(
            title="Versions",
            meaning="Processes by version: two during a rollout.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="count by (job, version, build_id) (takeone_build_info)",
                    legend="{{job}} {{version}} {{build_id}}",
                ),
            ),
            is_number=True,
        ),
        Panel(
            title="Event streams",
            meaning="Clients that follow executions.",
            unit=Unit.COUNT,
            queries=(Query(expr="sum(takeone_event_streams)"),),
            is_number=True,
        ),
    ),
)
