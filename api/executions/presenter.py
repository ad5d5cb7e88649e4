"""Build response bodies from store and ordering records."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import Response

from api.executions.outlook import NO_OUTLOOK, Outlook
from api.executions.responses import (
    Cancelled,
    Cost,
    ErrorBody,
    Execution,
    ExecutionList,
    Job,
    JobCost,
    KeptStep,
    Percent,
    Retried,
    StepToPay,
    WaitingFor,
    Webhook,
)
from api.http.problems.ordering import EXECUTIONS_PATH
from core.domain.ids import ExecutionId
from core.domain.money import usd_text
from core.domain.plans import PlanType, StepProgress, progress_percent
from core.domain.states import JobState
from core.ordering.idempotency import Answer
from core.ordering.retry import QueuedRetry
from core.store.executions.views.lists import ExecutionPage
from core.store.executions.views.status import ExecutionStatusRecord, JobStatus, latest_jobs
from core.webhooks.asset_links import AssetLinks
from core.webhooks.waiting import waiting_json

_RUNNING = (JobState.SUBMITTING, JobState.UNKNOWN, JobState.SUBMITTED)


def status_url(base_url: str, execution_id: ExecutionId) -> str:
    return f"{base_url}{EXECUTIONS_PATH}/{execution_id}"


def accepted_response(answer: Answer) -> Response:
    """Return the 202 of an accepted order, byte for byte as stored under its idempotency key."""
    location: str = json.loads(answer.body)["statusUrl"]
    headers = {"Location": location}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return Response(
        content=answer.body, status_code=202, media_type="application/json", headers=headers
    )


def retried_response(base_url: str, retry: QueuedRetry) -> Retried:
    return Retried(
        execution_id=retry.execution_id,
        status_url=status_url(base_url, retry.execution_id),
        generation=retry.generation,
        kept=[
            KeptStep(
                step=item.step,
                job_id=item.job_id,
                state=item.state,
                cost=usd_text(item.cost_nano_usd),
            )
            for item in retry.kept
        ],
        to_pay=[
            StepToPay(
                step=item.step.name,
                provider=item.step.provider,
                model=item.step.model,
                estimated=usd_text(item.nano_usd),
            )
            for item in retry.to_buy
        ],
        estimated=usd_text(retry.held_nano_usd),
    )


def execution_response(
    record: ExecutionStatusRecord, links: AssetLinks, outlook: Outlook = NO_OUTLOOK
) -> Execution:
    """Return an execution. outlook: of an open one, from read_outlooks."""
    latest = latest_jobs(record.jobs)
    return Execution(
        id=record.execution_id,
        type=PlanType(record.type),
        template=record.template,
        prompt=record.prompt,
        status=record.status,
        generation=record.generation,
        progress=_progress(record, latest),
        current_job=None
        if record.status.ended
        else next((job.step for job in latest if _is_running(job)), None),
        completed_jobs=[job.step for job in latest if job.state is JobState.COMPLETED],
        failed_jobs=[job.step for job in latest if job.state is JobState.FAILED],
        queue=outlook.queue,
        eta=outlook.eta,
        jobs=[job_body(job) for job in record.jobs],
        waiting_for=[
            WaitingFor.model_validate(waiting_json(approval, record.held_by_step, links))
            for approval in record.approvals
        ],
        result=record.result,
        error=_error(record.error),
        cost=Cost(
            estimated=usd_text(record.estimated_nano_usd),
            held=usd_text(record.held_nano_usd),
            settled=usd_text(record.settled_nano_usd),
            saved=usd_text(record.saved_nano_usd),
            final=record.final,
        ),
        webhook=_webhook(record),
        metadata=record.metadata,
        created_at=record.created_at,
        updated_at=record.updated_at,
    )


def execution_list_response(
    page: ExecutionPage,
    next_cursor: str | None,
    links: AssetLinks,
    outlooks: Mapping[ExecutionId, Outlook],
) -> ExecutionList:
    data = [
        execution_response(record, links, outlooks.get(record.execution_id, NO_OUTLOOK))
        for record in page.data
    ]
    return ExecutionList(data=data, next_cursor=next_cursor)


def cancelled_response(record: ExecutionStatusRecord) -> Cancelled:
    return Cancelled(
        execution_id=record.execution_id,
        status=record.status,
        spent=usd_text(record.settled_nano_usd),
        released=usd_text(record.released_nano_usd),
        final=record.final,
    )


def _is_running(job: JobStatus) -> bool:
    """Return whether the step has begun, which includes waiting to be sent again."""
    return job.state in _RUNNING or (
        job.state is JobState.WAITING and (job.send_number > 0 or job.submitted_at is not None)
    )


def _progress(record: ExecutionStatusRecord, latest: Sequence[JobStatus]) -> Percent:
    if record.status.ended:
        return record.progress
    steps = [
        StepProgress(
            name=job.step,
            usual_seconds=job.usual_seconds,
            state=job.state,
            submitted_at=_first_submitted_at(record.jobs, job),
        )
        for job in latest
    ]
    return progress_percent(steps, record.now)


def _first_submitted_at(jobs: Sequence[JobStatus], job: JobStatus) -> datetime | None:
    """Return when a step was first submitted, so that buying it again does not lower progress."""
    sends = [
        other for other in jobs if other.step == job.step and other.generation == job.generation
    ]
    return min((send.submitted_at for send in sends if send.submitted_at), default=None)


def job_body(job: JobStatus) -> Job:
    """Return an element of `jobs`."""
    return Job(
        id=job.job_id,
        step=job.step,
        state=job.state,
        generation=job.generation,
        supersedes=job.supersedes,
        orphan=job.orphan,
        provider=job.provider,
        model=job.model,
        tries=job.send_number,
        warnings=list(job.warnings),
        reused_from=job.reused_from,
        created_at=job.created_at,
        submitted_at=job.submitted_at,
        ended_at=job.ended_at,
        cost=JobCost(
            estimated=usd_text(job.held_nano_usd),
            held=usd_text(job.open_nano_usd),
            settled=usd_text(job.settled_nano_usd),
            saved=usd_text(job.saved_nano_usd),
            basis=job.basis,
        ),
        error=_error(job.failure),
    )


def _error(stored: dict[str, Any] | None) -> ErrorBody | None:
    return ErrorBody.model_validate(stored) if stored is not None else None


def _webhook(record: ExecutionStatusRecord) -> Webhook | None:
    if record.webhook_url is None:
        return None
    event = record.webhook
    return Webhook(
        url=record.webhook_url,
        event_id=event.event_id if event else None,
        state=event.state if event else None,
        failed_reason=event.failed_reason if event else None,
        attempts=event.attempts if event else 0,
        last_attempt_at=event.last_attempt_at if event else None,
        last_status_code=event.last_status_code if event else None,
        last_error=event.last_error if event else None,
        ended_at=event.ended_at if event else None,
    )
