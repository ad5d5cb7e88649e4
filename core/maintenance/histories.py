"""What Temporal knows of executions, read for a database that has forgotten it: the memo of the
latest run, and what its activities answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from core.domain.failures import Failure, FailureCode
from core.domain.ids import ExecutionId, JobId, ProviderKeyId
from core.domain.messages.executions import ExecutionOutcome
from core.domain.messages.jobs import (
    FindJobResult,
    FindOutcome,
    JobRef,
    SubmitJobResult,
    SubmitOutcome,
)
from core.domain.states import ExecutionStatus
from core.maintenance.recovery import ExecutionPast, JobFate, JobPast, NoMemoError, TemporalPast
from core.maintenance.workflow_queries import accepted_of
from core.platform.temporal.client import RPC_TIMEOUT
from core.store.recovery.start_memo import Accepted

SUBMIT, FIND = "submit_job", "find_job"
CANCEL_SIGNAL = "cancel_requested"
WHY_TERMINATED = "the database is recovered: it walks once more, from its rows"
BY_AN_OPERATOR = "cancelled by an operator"


async def list_executions(client: Client, since: datetime | None) -> list[ExecutionId]:
    """Executions whose workflow is open, or was started or closed since then; None: all that are
    retained.
    """
    query = "WorkflowType = 'execution'"
    if since is not None:
        at = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query += f" AND (ExecutionStatus = 'Running' OR CloseTime >= '{at}' OR StartTime >= '{at}')"
    found = {ExecutionId(run.id): None async for run in client.list_workflows(query)}
    return sorted(found)


def past_at(client: Client) -> TemporalPast:
    return TemporalPast(
        list_executions=partial(list_executions, client),
        read=partial(read_past, client),
        terminate=partial(terminate, client),
    )


async def terminate(client: Client, execution_id: ExecutionId) -> None:
    """Repeating is safe."""
    try:
        await client.get_workflow_handle(execution_id).terminate(
            reason=WHY_TERMINATED, rpc_timeout=RPC_TIMEOUT
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise


async def read_past(client: Client, execution_id: ExecutionId) -> ExecutionPast:
    """From its latest run: the memo holds what the rows said when it began, the history what
    happened since.

    A run that somebody started by hand has no memo: then from the latest that has one, and all
    after it. Raises NoMemoError.
    """
    latest = await client.get_workflow_handle(execution_id).describe(rpc_timeout=RPC_TIMEOUT)
    accepted, runs = await accepted_of(latest), [latest.run_id]
    began = latest.start_time
    if accepted is None:
        earlier = [run async for run in client.list_workflows(f"WorkflowId = '{execution_id}'")]
        for run in sorted(earlier, key=lambda one: one.start_time, reverse=True):
            if run.run_id == latest.run_id:
                continue
            accepted, began = await accepted_of(run), run.start_time
            runs.insert(0, run.run_id)
            if accepted is not None:
                break
    if accepted is None:
        raise NoMemoError(execution_id)
    reading = Reading(
        converter=client.data_converter,
        jobs=_at_start(accepted, began),
        own_keys=_own_keys(accepted),
    )
    for run_id in runs:
        handle = client.get_workflow_handle(execution_id, run_id=run_id)
        async for event in handle.fetch_history_events():
            await reading.read(event)
    return ExecutionPast(
        accepted=accepted,
        is_open=latest.status is WorkflowExecutionStatus.RUNNING,
        cancel_reason=reading.cancel_reason if reading.cancel_stands() else None,
        jobs=reading.jobs,
    )


def _at_start(accepted: Accepted, at: datetime) -> dict[JobId, JobPast]:
    """The jobs as the memo has them."""
    fates = {
        "waiting": JobFate.WAITING,
        "submitting": JobFate.UNKNOWN,
        "unknown": JobFate.UNKNOWN,
        "submitted": JobFate.SUBMITTED,
        "failed": JobFate.FAILED,
        "cancelled": JobFate.FAILED,
    }
    past: dict[JobId, JobPast] = {}
    for job in accepted.jobs:
        fate = fates.get(job["state"])
        if (
            job["state"] == "completed"
            and job.get("provider_job_id") is not None
            and accepted.is_current(job)
        ):
            fate = JobFate.SUBMITTED
        if fate is not None:
            past[JobId(job["job_id"])] = JobPast(
                fate=fate,
                send_number=job["send_number"],
                provider_job_id=job.get("provider_job_id"),
                provider_key_id=job.get("provider_key_id"),
                key_known=True,
                at=datetime.fromisoformat(job["submitted_at"]) if "submitted_at" in job else at,
            )
    return past


def _own_keys(accepted: Accepted) -> dict[JobId, ProviderKeyId | None]:
    return {JobId(job["job_id"]): accepted.current_key(job["provider"]) for job in accepted.jobs}


@dataclass(slots=True, kw_only=True)
class Reading:
    """A walk through the events of one run, in their order. own_keys: what their user had when it
    began.
    """

    converter: DataConverter
    jobs: dict[JobId, JobPast]
    own_keys: Mapping[JobId, ProviderKeyId | None] = field(
        default_factory=dict[JobId, "ProviderKeyId | None"]
    )
    cancel_reason: str | None = None
    outcome: ExecutionOutcome | None = None
    _ordered: dict[int, tuple[str, JobId, JobPast | None]] = field(
        default_factory=dict[int, tuple[str, JobId, "JobPast | None"]]
    )

    async def read(self, event: HistoryEvent) -> None:
        kind = event.event_type
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            self._ordered, self.outcome, self.cancel_reason = {}, None, None
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            await self._scheduled(event)
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            await self._completed(event)
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signal = event.workflow_execution_signaled_event_attributes
            if signal.signal_name == CANCEL_SIGNAL:
                reason = await self._decode(signal.input.payloads[:1], str)
                self.cancel_reason = self.cancel_reason or reason
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
            self.cancel_reason = self.cancel_reason or BY_AN_OPERATOR
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            payloads = event.workflow_execution_completed_event_attributes.result.payloads
            self.outcome = await self._decode(payloads, ExecutionOutcome)

    def cancel_stands(self) -> bool:
        """Whether the cancel that came is what ended it, or may still: what was completed before
        stays so.
        """
        if self.outcome is None or self.outcome.status is ExecutionStatus.CANCELLED:
            return True
        failure = self.outcome.failure
        return failure is not None and failure.code is FailureCode.DEADLINE_EXCEEDED

    async def _scheduled(self, event: HistoryEvent) -> None:
        order = event.activity_task_scheduled_event_attributes
        name = order.activity_type.name
        if name not in (SUBMIT, FIND):
            return
        job_id = (await self._decode(order.input.payloads, JobRef)).job_id
        before = self.jobs.get(job_id)
        self._ordered[event.event_id] = (name, job_id, before)
        if name == SUBMIT and (before is None or before.fate is JobFate.WAITING):
            # Until its answer says more: it may have sent.
            number = (before.send_number if before is not None else 0) + 1
            self.jobs[job_id] = JobPast(
                fate=JobFate.UNKNOWN,
                send_number=number,
                at=event.event_time.ToDatetime(tzinfo=UTC),
                provider_key_id=self.own_keys.get(job_id),
            )

    async def _completed(self, event: HistoryEvent) -> None:
        done = event.activity_task_completed_event_attributes
        ordered = self._ordered.get(done.scheduled_event_id)
        if ordered is None:
            return
        name, job_id, before = ordered
        now = self.jobs.get(job_id) or JobPast(
            fate=JobFate.WAITING, send_number=0, at=datetime.now(UTC)
        )
        if name == SUBMIT:
            submitted = await self._decode(done.result.payloads, SubmitJobResult)
            fate = _AFTER_SUBMIT[submitted.outcome]
            self.jobs[job_id] = _known(fate, submitted, before, now)
        else:
            found = await self._decode(done.result.payloads, FindJobResult)
            self.jobs[job_id] = _known(_AFTER_FIND[found.outcome], found, before, now)

    async def _decode(self, payloads: Iterable[Payload], kind: type[Any]) -> Any:
        listed: Sequence[Payload] = list(payloads)
        return (await self.converter.decode(listed, [kind]))[0]


_AFTER_SUBMIT: Final = {
    SubmitOutcome.SUBMITTED: JobFate.SUBMITTED,
    SubmitOutcome.NOT_SENT: JobFate.WAITING,
    SubmitOutcome.STOPPED: JobFate.WAITING,
    SubmitOutcome.REFUSED: JobFate.FAILED,
    SubmitOutcome.UNKNOWN: JobFate.UNKNOWN,
    SubmitOutcome.ENDED: JobFate.FAILED,
}
_AFTER_FIND: Final = {
    FindOutcome.FOUND: JobFate.SUBMITTED,
    FindOutcome.ABSENT: JobFate.WAITING,
    FindOutcome.ENDED: JobFate.FAILED,
    FindOutcome.GIVEN_UP: JobFate.FAILED,
}


def _known(
    fate: JobFate, result: SubmitJobResult | FindJobResult, before: JobPast | None, now: JobPast
) -> JobPast:
    """What is known after an answer. What has an id at its provider is asked there, however it
    ended.
    """
    failure: Failure | None = result.failure
    if fate is JobFate.FAILED and result.provider_job_id is not None:
        fate, failure = JobFate.SUBMITTED, None
    if fate is JobFate.FAILED and failure is None:
        return before or now
    if fate is JobFate.SUBMITTED and result.provider_job_id is None:
        fate = JobFate.UNKNOWN
    number = result.send_number
    if not number:
        number = (
            now.send_number if fate is not JobFate.WAITING or before is None else before.send_number
        )
    return JobPast(
        fate=fate,
        send_number=number,
        provider_job_id=result.provider_job_id,
        failure=failure if fate is JobFate.FAILED else None,
        at=now.at,
        provider_key_id=result.provider_key_id,
        key_known=True,
    )
