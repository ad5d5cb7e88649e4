"""The provider's final report of a job, as JSON in the job's row."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from core.domain.ids import ExecutionId, JobId
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobReport, Output
from core.domain.states import JobState
from core.store.database import Connection
from core.store.executions.executions import failure_from_json, failure_to_json


def report_to_json(report: JobReport) -> dict[str, Any]:
    """Return the report as stored in the row."""
    return {
        "state": report.state,
        "outputs": [asdict(output) for output in report.outputs],
        "failure": failure_to_json(report.failure),
        "billed_units": report.billed_units,
        "run_seconds": report.run_seconds,
        "charged": report.charged,
        "transient": report.transient,
    }


def report_from_json(plain: Mapping[str, Any] | None) -> JobReport | None:
    """Return the report of a row, None if the job has none yet."""
    if plain is None:
        return None
    return JobReport(
        state=JobState(plain["state"]),
        outputs=tuple(
            Output(
                url=item["url"],
                kind=MediaKind(item["kind"]),
                needs_key=item.get("needs_key", False),
            )
            for item in plain["outputs"]
        ),
        failure=failure_from_json(plain["failure"]),
        billed_units=plain["billed_units"],
        run_seconds=plain["run_seconds"],
        charged=plain["charged"],
        transient=plain.get("transient", False),
    )


CLEAR_INLINE_FILES = "UPDATE jobs SET report = $2 WHERE job_id = $1 AND report IS NOT NULL"


async def clear_inline_files(conn: Connection, job_id: JobId, report: JobReport) -> None:
    """Remove the files that the addresses of a report contain: they are in object storage."""
    outputs = tuple(
        replace(output, url="") if output.is_inline else output for output in report.outputs
    )
    await conn.execute(CLEAR_INLINE_FILES, job_id, report_to_json(replace(report, outputs=outputs)))


GET_OUTPUT = """
SELECT j.report, j.ended_at FROM jobs AS j
WHERE j.execution_id = $1 AND j.step_name = $2 AND j.state = 'completed' AND NOT j.orphan
ORDER BY j.generation DESC, j.job_id DESC LIMIT 1
"""


async def find_step_report(
    conn: Connection, execution_id: ExecutionId, step: str
) -> tuple[JobReport, datetime] | None:
    """Return the report of a completed step and its end, None if the step has not completed."""
    row = await conn.fetchrow(GET_OUTPUT, execution_id, step)
    report = report_from_json(row["report"]) if row is not None else None
    return (report, row["ended_at"]) if row is not None and report is not None else None
