"""Examples of the alerts on work and parts, and on objectives."""

from typing import Final

from deploy.observability.objectives import BURNS, OBJECTIVES, Burn, Objective
from tests.observability.example import Example, Series

SUCCESS: Final = 'takeone_reconciler_last_success_timestamp_seconds{{task="{}", instance="w1"}}'
BILLS: Final = 'takeone_open_bills{provider="fal", instance="w1"}'
LATE: Final = 'takeone_executions_late_oldest_seconds{{reason="{}", instance="w1"}}'
SLOTS_WAIT: Final = (
    "temporal_activity_schedule_to_start_latency_seconds_bucket"
    '{{job="takeone-sdk", task_queue="{}", le="{}"}}'
)
POLLERS: Final = 'temporal_num_pollers{{job="{}", task_queue="webhooks", instance="w1"}}'
TASK_FAILED: Final = 'temporal_workflow_task_execution_failed_total{{job="{}", instance="w1"}}'
DELAY: Final = 'takeone_job_look_delay_seconds_bucket{{provider="fal", le="{}"}}'
CREATES: Final = 'takeone_provider_calls_total{{provider="fal", operation="create", outcome="{}"}}'
UP: Final = 'up{{job="{}", instance="one"}}'
POOL: Final = 'takeone_database_pool_wait_seconds_bucket{{job="takeone-api", le="{}"}}'
SILENT: Final = "No worker repairs anything, and the gauges of the reconciler are missing"

_ALERTS: Final[dict[str, Example]] = {
    "ReconcilerSilent": Example(
        quiet={BILLS: "0x60", SUCCESS.format("start_queued"): "0+60x60"},
        firing={BILLS: "0x60", SUCCESS.format("start_queued"): "0+60x20 1200x40"},
        summary=SILENT,
        absent=SILENT,
    ),
    "ReconcilerTaskFails": Example(
        quiet={SUCCESS.format("delete_files"): "0+60x60", SUCCESS.format("abort_uploads"): "0x60"},
        firing={SUCCESS.format("delete_files"): "0x60"},
        labels={"task": "delete_files"},
        summary="The task delete_files of the reconciler has not succeeded for 30m 0s",
    ),
    "ExecutionsStalled": Example(
        quiet={LATE.format("stalled"): "10x60"},
        firing={LATE.format("stalled"): "400x60"},
        summary="A queued execution has had a free slot for 6m 40s and was not started",
    ),
    "ExecutionsOverdue": Example(
        quiet={LATE.format("overdue"): "600x60"},
        firing={LATE.format("overdue"): "1200x60"},
        summary="An execution is 20m 0s past its deadline and still runs",
    ),
    "ScheduleToStart": Example(
        quiet={
            SLOTS_WAIT.format("executions", "10"): "0+60x60",
            SLOTS_WAIT.format("executions", "1"): "0+60x60",
            SLOTS_WAIT.format("executions", "+Inf"): "0+60x60",
            SLOTS_WAIT.format("submit-fal", "10"): "0x60",  # waits by design
            SLOTS_WAIT.format("submit-fal", "+Inf"): "0+60x60",
        },
        firing={
            SLOTS_WAIT.format("executions", "5"): "0x60",
            SLOTS_WAIT.format("executions", "10"): "0+60x60",
            SLOTS_WAIT.format("executions", "+Inf"): "0+60x60",
        },
        labels={"task_queue": "executions"},
        summary="executions: one activity in twenty waits 9.75s for a slot",
    ),
    "NoPollers": Example(
        # The server's own workers have another job.
        quiet={POLLERS.format("takeone-sdk"): "5x60", POLLERS.format("temporal"): "0x60"},
        firing={POLLERS.format("takeone-sdk"): "0x60"},
        labels={"task_queue": "webhooks"},
        summary="No worker polls the queue webhooks",
        absent="No worker polls any queue",
        absent_labels={"job": "takeone-sdk"},
    ),
    "WorkflowTaskFailures": Example(
        quiet={TASK_FAILED.format("takeone-sdk"): "2x60", TASK_FAILED.format("temporal"): "0+1x60"},
        firing={TASK_FAILED.format("takeone-sdk"): "_x25 1x35"},  # born at 1
        summary="1 workflow tasks failed in ten minutes",
    ),
    "JobsReadLate": Example(
        quiet={DELAY.format("1.0"): "0+60x60", DELAY.format("+Inf"): "0+60x60"},
        firing={
            DELAY.format("60.0"): "0x60",
            DELAY.format("120.0"): "0+60x60",
            DELAY.format("+Inf"): "0+60x60",
        },
        labels={"provider": "fal"},
        summary="fal: one job in ten is read 1m 54s late",
    ),
    "BreakerOpen": Example(
        quiet={'takeone_provider_breaker_open{provider="fal"}': "0x60"},
        firing={'takeone_provider_breaker_open{provider="fal"}': "1x60"},
        labels={"provider": "fal"},
        summary="fal refuses this service's key or credit",
    ),
    "ProviderRefuses": Example(
        quiet={CREATES.format("accepted"): "0+9x60", CREATES.format("not_accepted"): "0+1x60"},
        firing={CREATES.format("accepted"): "0+6x60", CREATES.format("not_accepted"): "0+4x60"},
        labels={"provider": "fal"},
        summary="fal did not accept 40% of the create requests of ten minutes",
    ),
    "ApiDown": Example(
        quiet={UP.format("takeone-api"): "1x60", 'up{job="takeone-api", instance="two"}': "0x60"},
        firing={UP.format("takeone-api"): "0x60"},
        summary="No API process answers",
        absent="No API process answers",
    ),
    "ProcessDown": Example(
        quiet={UP.format("takeone-worker"): "1x60", UP.format("temporal"): "0x60"},
        firing={UP.format("takeone-worker"): "0x60"},
        labels={"job": "takeone-worker", "instance": "one"},
        summary="takeone-worker at one does not answer",
    ),
    "TemporalUnreachable": Example(
        quiet={'takeone_waits_completed_total{outcome="unreachable"}': "7x60"},
        firing={'takeone_waits_completed_total{outcome="unreachable"}': "0+1x60"},
        summary="Workers have not reached Temporal for minutes",
    ),
    "DatabasePoolWaits": Example(
        quiet={POOL.format("0.001"): "0+60x60", POOL.format("+Inf"): "0+60x60"},
        firing={
            POOL.format("1.0"): "0x60",
            POOL.format("2.5"): "0+60x60",
            POOL.format("+Inf"): "0+60x60",
        },
        labels={"job": "takeone-api"},
        summary="takeone-api: one transaction in twenty waits 2.425s for a connection",
    ),
}
EVENTS: Final = 1000
"""A minute, so that one in a thousand is seen."""


def _events(objective: Objective, failed: int) -> Series:
    """Return series with this number of failed events among EVENTS a minute."""
    good, minutes = EVENTS - failed, 200
    match objective.metric:
        case "executions":
            failures = 'takeone_executions_failed_total{type="plan", code="provider_failed"}'
            callers = 'takeone_executions_failed_total{type="plan", code="content_moderated"}'
            return {
                'takeone_executions_completed_total{type="plan"}': f"0+{good}x{minutes}",
                failures: f"0+{failed}x{minutes}",
                callers: f"0+{EVENTS}x{minutes}",
            }
        case "api":
            return {
                'takeone_api_responses_total{class="2xx"}': f"0+{good}x{minutes}",
                'takeone_api_responses_total{class="5xx"}': f"0+{failed}x{minutes}",
            }
        case _:
            return {
                "takeone_webhook_first_attempt_seconds_count": f"0+{EVENTS}x{minutes}",
                'takeone_webhook_first_attempt_seconds_bucket{le="60.0"}': f"0+{good}x{minutes}",
            }


def _burn(objective: Objective, burn: Burn) -> Example:
    """Return an example in which half of, or twice what the alert allows fails."""
    allowed = burn.factor * objective.budget
    failed = round(2 * allowed * EVENTS)
    return Example(
        quiet=_events(objective, int(allowed * EVENTS / 2)),
        firing=_events(objective, failed),
        at="90m",  # a ratio over a longer window covers what there is
        summary=f"{objective.name}: {failed * 100 / EVENTS:.4g}% of the last {burn.long} failed, "
        f"the objective is {objective.target:.1%}",
    )


EXAMPLES: Final = _ALERTS | {
    objective.name + burn.name: _burn(objective, burn) for objective in OBJECTIVES for burn in BURNS
}
