"""Alerts on work that waits."""

from typing import Final

from deploy.observability.table import Alert, Job, Severity

SUCCESS: Final = "takeone_reconciler_last_success_timestamp_seconds"
HOURLY_TASKS: Final = '{task="abort_uploads"}'
OTHER_TASKS: Final = '{task!="abort_uploads"}'
SCHEDULE_TO_START: Final = (
    "histogram_quantile(0.95, sum by (le, task_queue) (rate("
    "temporal_activity_schedule_to_start_latency_seconds_bucket"
    f'{{job="{Job.SDK}", task_queue!~"submit-.*|temporal-sys.*"}}[5m])))'
)
POLLERS: Final = f'temporal_num_pollers{{job="{Job.SDK}"}}'
FAILURES: Final = f'temporal_workflow_task_execution_failed_total{{job="{Job.SDK}"}}'
LOOK_DELAY: Final = (
    "histogram_quantile(0.9, sum by (le, provider) "
    "(rate(takeone_job_look_delay_seconds_bucket[10m])))"
)

ALERTS: Final = (
    Alert(
        name="ReconcilerSilent",
        severity=Severity.PAGE,
        measures=("takeone_open_bills", f"max({SUCCESS}{OTHER_TASKS})"),
        expr=f"absent(takeone_open_bills) or time() - max({SUCCESS}{OTHER_TASKS}) > 60",
        lasts="2m",
        summary="No worker repairs anything, and the gauges of the reconciler are missing",
        reason="Its tasks run every ten seconds: six rounds were missed. All alerts on money need "
        "its gauges.",
        look="Do workers run, and do they reach PostgreSQL? `reconciler.lease_not_renewed` and "
        "`reconciler.task_failed` in their logs.",
        act="Start workers, or restore PostgreSQL. A stopped leader is replaced within 15 seconds.",
        commands=("doctor",),
    ),
    Alert(
        name="ReconcilerTaskFails",
        severity=Severity.TICKET,
        measures=(f"time() - max by (task) ({SUCCESS})",),
        expr=f"time() - max by (task) ({SUCCESS}{OTHER_TASKS}) > 900"
        f" or time() - max by (task) ({SUCCESS}{HOURLY_TASKS}) > 7800",
        lasts="5m",
        summary="The task {{ $labels.task }} of the reconciler has not succeeded for "
        "{{ $value | humanizeDuration }}",
        reason="A task runs every minute or more often, `abort_uploads` every hour.",
        look="`reconciler.task_failed` and `reconciler.task_crashed` with this `task` in the logs "
        "of the workers: `reason` is the error.",
        act="If one row causes it, `jobs show` has the row. Report a crash as a defect.",
        commands=("jobs list", "jobs show JOB"),
    ),
    Alert(
        name="ExecutionsStalled",
        severity=Severity.PAGE,
        measures=('max(takeone_executions_late_oldest_seconds{reason="stalled"})',),
        above="300",
        lasts="1m",
        summary="A queued execution has had a free slot for {{ $value | humanizeDuration }} and "
        "was not started",
        reason="Starts take less than a second, and the reconciler repeats a lost start within "
        "ten seconds. This is a stall, not load.",
        look="Is Temporal available, and do workers poll the queue `executions`? "
        "`reconciler.temporal_unreachable` in the logs of the workers.",
        act="Restore Temporal, or add workers. Accepted executions start by themselves then.",
        commands=("doctor",),
    ),
    Alert(
        name="ExecutionsOverdue",
        severity=Severity.PAGE,
        measures=('max(takeone_executions_late_oldest_seconds{reason="overdue"})',),
        above="900",
        lasts="5m",
        summary="An execution is {{ $value | humanizeDuration }} past its deadline and still runs",
        reason="Each accepted request ends within its deadline; the reconciler closes it minutes "
        "later.",
        look="The workflow in the Temporal Web UI: a pending workflow task that fails, or an "
        "activity that hangs. `reconciler.task_failed` with the task `end_running`.",
        act="Repair what blocks the workflow. *Terminate* in the Web UI ends it: its paid jobs are "
        "settled by the reconciler.",
        commands=("jobs list", "jobs show JOB", "executions cancel --execution EXECUTION"),
    ),
    Alert(
        name="ScheduleToStart",
        severity=Severity.TICKET,
        measures=(SCHEDULE_TO_START,),
        above="5",
        lasts="10m",
        summary="{{ $labels.task_queue }}: one activity in twenty waits {{ $value | humanizeDuration }} "
        "for a slot",
        reason="0.1 to 0.5 s while healthy. Submit queues are left out, because they wait by design.",
        look="*Worker utilisation* and *Queue depth* of this queue.",
        act="Add workers: [capacity](../explanation/capacity.md).",
        commands=("submits show",),
        may_be_empty="no activity was started in five minutes",
    ),
    Alert(
        name="NoPollers",
        severity=Severity.PAGE,
        measures=(POLLERS,),
        expr=f"absent({POLLERS}) or sum by (task_queue) ({POLLERS}) == 0",
        lasts="2m",
        summary="No worker polls {{ with $labels.task_queue }}the queue {{ . }}{{ else }}any queue{{ end }}",
        reason="Without pollers nothing is started, and nothing that is paid is stored.",
        look="Do workers run, and does Temporal answer? Their logs end with the reason.",
        act="Start workers. One that ends with code 2 has a wrong setting, with code 3 a restored "
        "database.",
        commands=("doctor",),
    ),
    Alert(
        name="WorkflowTaskFailures",
        severity=Severity.PAGE,
        measures=(FAILURES,),
        # A counter that is born at 1 has no increase.
        expr=f"sum({FAILURES}) - (sum({FAILURES} offset 10m) or vector(0)) > 0",
        summary="{{ $value }} workflow tasks failed in ten minutes",
        reason="Workflow code that fails or is not deterministic. Its executions stand still.",
        look="The workflow in the Temporal Web UI: the last event has the error.",
        act="Stop the rollout and go back to the release before it: the workflows continue there.",
        commands=("submits pause --reason TEXT",),
        may_be_empty="no workflow task has failed",
    ),
    Alert(
        name="JobsReadLate",
        severity=Severity.TICKET,
        measures=(LOOK_DELAY,),
        above="60",
        lasts="10m",
        summary="{{ $labels.provider }}: one job in ten is read {{ $value | humanizeDuration }} late",
        reason="Reads are due every 30 s or more often, so results wait longer than they need.",
        look="*Late reads of jobs*: rounds that a rate limited, and whether callbacks arrive.",
        act="Make callbacks possible (`PUBLIC_URL`), raise the rate of reads if the provider "
        "allows it, or add workers.",
        commands=("providers show",),
        may_be_empty="no job was read in ten minutes",
    ),
)
