"""Panels: queues, workers and the reconciler."""

from typing import Final

from deploy.observability.panels.queries import quantile, rate
from deploy.observability.table import Job, Panel, Query, Row, Unit

NO_STEPS: Final = "no step has ended yet"
SLOTS: Final = f'{{job="{Job.SDK}"}}'
USED: Final = f"sum by (task_queue, worker_type) (temporal_worker_task_slots_used{SLOTS})"
AVAILABLE: Final = f"sum by (task_queue, worker_type) (temporal_worker_task_slots_available{SLOTS})"

ROW: Final = Row(
    title="Can work be taken?",
    panels=(
        Panel(
            title="Queue depth",
            meaning="Tasks that wait in Temporal. Executions that wait for a slot of their user "
            "are in PostgreSQL: see open executions.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="sum by (task_queue) (max by (task_queue, kind) "
                    "(takeone_task_queue_backlog))",
                    legend="{{task_queue}}",
                ),
            ),
        ),
        Panel(
            title="Worker utilisation",
            meaning="Used among all slots, over all workers.",
            unit=Unit.RATIO,
            queries=(
                Query(
                    expr=f"{USED} / ({USED} + {AVAILABLE})", legend="{{task_queue}} {{worker_type}}"
                ),
            ),
        ),
        Panel(
            title="Wait for a slot",
            meaning="P95 between scheduling and start of an activity. Submit queues wait by "
            "design.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    expr=quantile(
                        0.95,
                        "temporal_activity_schedule_to_start_latency_seconds",
                        by="task_queue",
                        labels="{task_queue!~'submit-.*|temporal-sys.*'}",
                    ),
                    legend="{{task_queue}}",
                ),
            ),
        ),
        Panel(
            title="Reconciler",
            meaning="Time since the last success of each task, and how long it took.",
            unit=Unit.SECONDS,
            queries=(
                Query(
                    expr="time() - max by (task) "
                    "(takeone_reconciler_last_success_timestamp_seconds)",
                    legend="since {{task}}",
                ),
                Query(expr="max by (task) (takeone_reconciler_task_seconds)", legend="{{task}}"),
            ),
        ),
        Panel(
            title="Pauses of paid calls",
            meaning="By scope. The scope `database` is set after a restore.",
            unit=Unit.COUNT,
            queries=(Query(expr="max by (scope) (takeone_submits_paused)", legend="{{scope}}"),),
        ),
        Panel(
            title="Completions of waits",
            meaning="What Temporal returned per second.",
            unit=Unit.PER_SECOND,
            queries=(
                Query(
                    expr=f"sum by (outcome) ({rate('takeone_waits_completed_total')})",
                    legend="{{outcome}}",
                ),
            ),
        ),
        Panel(
            title="Connections to PostgreSQL",
            meaning="Connections in use, and the P95 of the wait for one in seconds.",
            unit=Unit.COUNT,
            queries=(
                Query(expr="sum by (job) (takeone_database_pool_in_use)", legend="{{job}}"),
                Query(
                    expr=quantile(0.95, "takeone_database_pool_wait_seconds", by="job"),
                    legend="wait {{job}}",
                ),
            ),
        ),
        Panel(
            title="Media steps",
            meaning="Media steps that ended in an hour, and their processor time.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="sum by (kind, outcome) (increase(takeone_media_jobs_total[1h])) > 0",
                    legend="{{kind}} {{outcome}}",
                    may_be_empty=NO_STEPS,
                ),
                Query(
                    expr="sum by (kind) (increase(takeone_media_processor_seconds_total[1h])) > 0",
                    legend="seconds {{kind}}",
                    may_be_empty=NO_STEPS,
                ),
            ),
        ),
        Panel(
            title="Disk space of media steps",
            meaning="Reserved by running media steps.",
            unit=Unit.BYTES,
            queries=(Query(expr="sum(takeone_media_scratch_reserved_bytes)"),),
        ),
        Panel(
            title="Deleted by retention",
            meaning="Rows and files in 24 hours, by kind.",
            unit=Unit.COUNT,
            queries=(
                Query(
                    expr="sum by (kind) (increase(takeone_retention_deleted_total[1d]))",
                    legend="{{kind}}",
                ),
            ),
        ),
    ),
)
