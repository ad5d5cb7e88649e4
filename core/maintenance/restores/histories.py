"""Executions as Temporal recorded them, for a database that was restored from an older backup.

The memo of the latest run holds the rows as they were when the run started; its history holds what
its activities returned since.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode

from core.domain.failures import Failure, FailureCode
from core.domain.ids import (
    ExecutionId,
    JobId,
    ProviderJobId,
    ProviderKeyId,
    derived_event_id,
)
from core.domain.messages.executions import ExecutionOutcome
from core.domain.messages.jobs import (
    FindJobResult,
    FindOutcome,
    JobRef,
    SubmitJobResult,
    SubmitOutcome,
)
from core.domain.messages.webhooks import DeliveryOrder
from core.domain.states import ExecutionStatus
from core.maintenance.repairs.workflow_queries import accepted_of, is_delivered
from core.maintenance.restores.delivered_webhooks import DeliveredWebhooks
from core.platform.temporal.client import RPC_TIMEOUT
from core.store.recovery.start_memo import StartMemo

SUBMIT, FIND = "submit_job", "find_job"
CANCEL_SIGNAL = "cancel_requested"
TERMINATE_REASON = "recovery of the database: the execution is run again from its rows"
NATIVE_CANCEL_REASON = "cancelled by an operator"


class NoMemoError(Exception):
    """No run of the workflow has the memo of what was accepted."""


class JobFate(StrEnum):
    """What is recorded about a job's last send.

    WAITING: it was certainly not accepted. UNKNOWN: it may have been accepted. SUBMITTED: the
    provider accepted it under an id. FAILED: it was refused or given up.
    """

    WAITING = "waiting"
    UNKNOWN = "unknown"
    SUBMITTED = "submitted"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedJob:
    """A job as Temporal recorded it.

    at, until: the earliest and the latest possible time of its last send, from the scheduling of
    its activity until the result (until=None: no result is recorded).

    provider_key_id: the user's own key of that send. key_known: the activity's result named the
    key; otherwise it is the key that the user had when the workflow was started.

    retired: its accepted sends that failed at no cost, after which the workflow sent it again.
    """

    fate: JobFate
    send_number: int
    at: datetime
    until: datetime | None = None
    provider_job_id: ProviderJobId | None = None
    failure: Failure | None = None
    provider_key_id: ProviderKeyId | None = None
    key_known: bool = False
    retired: "tuple[RecordedJob, ...]" = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedExecution:
    """An execution as Temporal recorded it. cancel_reason: of a cancel that is in effect.

    delivered: the receiver accepted the webhook of this generation.
    """

    accepted: StartMemo
    is_open: bool
    cancel_reason: str | None
    jobs: dict[JobId, RecordedJob]
    delivered: bool = False


@dataclass(slots=True)
class ExecutionHistories:
    """Reads and terminates the workflows of executions."""

    client: Client

    async def list_executions(self, since: datetime | None) -> list[ExecutionId]:
        """List executions whose workflow is open, or was started or closed since that time.

        None: all that Temporal retains.
        """
        query = "WorkflowType = 'execution'"
        if since is not None:
            at = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            query += (
                f" AND (ExecutionStatus = 'Running' OR CloseTime >= '{at}' OR StartTime >= '{at}')"
            )
        ids = {ExecutionId(run.id): None async for run in self.client.list_workflows(query)}
        return sorted(ids)

    async def terminate(self, execution_id: ExecutionId) -> None:
        """Terminate the workflow of an execution. Repeating is safe."""
        try:
            await self.client.get_workflow_handle(execution_id).terminate(
                reason=TERMINATE_REASON, rpc_timeout=RPC_TIMEOUT
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def read(self, execution_id: ExecutionId) -> RecordedExecution:
        """Read an execution from its latest run.

        A run that an operator started by hand has no memo: then start from the latest run with a
        memo and read all runs after it. Raises NoMemoError.
        """
        client = self.client
        latest = await client.get_workflow_handle(execution_id).describe(rpc_timeout=RPC_TIMEOUT)
        accepted, runs = await accepted_of(latest), [latest.run_id]
        began = latest.start_time
        if accepted is None:
            earlier = [run async for run in client.list_workflows(f"WorkflowId = '{execution_id}'")]
            for run in sorted(earlier, key=lambda run: run.start_time, reverse=True):
                if run.run_id == latest.run_id:
                    continue
                accepted, began = await accepted_of(run), run.start_time
                runs.insert(0, run.run_id)
                if accepted is not None:
                    break
        if accepted is None:
            raise NoMemoError(execution_id)
        reader = HistoryReader(
            converter=client.data_converter,
            jobs=_jobs_at_start(accepted, began),
            own_keys=_own_keys(accepted),
        )
        webhooks = DeliveredWebhooks(converter=client.data_converter)
        for run_id in runs:
            handle = client.get_workflow_handle(execution_id, run_id=run_id)
            async for event in handle.fetch_history_events():
                await reader.read(event)
                await webhooks.read(event)
        event_id = derived_event_id(execution_id, accepted.generation)
        order = DeliveryOrder(user_id=accepted.user_id, event_id=event_id)
        return RecordedExecution(
            accepted=accepted,
            is_open=latest.status is WorkflowExecutionStatus.RUNNING,
            cancel_reason=reader.cancel_reason if reader.cancel_is_effective() else None,
            jobs=reader.jobs,
            delivered=event_id in webhooks.event_ids or await is_delivered(client, order),
        )


def _jobs_at_start(accepted: StartMemo, at: datetime) -> dict[JobId, RecordedJob]:
    """Return the jobs as the memo holds them."""
    fates = {
        "waiting": JobFate.WAITING,
        "submitting": JobFate.UNKNOWN,
        "unknown": JobFate.UNKNOWN,
        "submitted": JobFate.SUBMITTED,
        "failed": JobFate.FAILED,
        "cancelled": JobFate.FAILED,
    }
    jobs: dict[JobId, RecordedJob] = {}
    for job in accepted.jobs:
        fate = fates.get(job["state"])
        if (
            job["state"] == "completed"
            and job.get("provider_job_id") is not None
            and accepted.is_current(job)
        ):
            fate = JobFate.SUBMITTED
        if fate is not None:
            jobs[JobId(job["job_id"])] = RecordedJob(
                fate=fate,
                send_number=job["send_number"],
                provider_job_id=job.get("provider_job_id"),
                provider_key_id=job.get("provider_key_id"),
                key_known=True,
                # The memo does not have the time of a send: it was between these two.
                at=datetime.fromisoformat(job.get("submitted_at") or job["created_at"]),
                until=at,
            )
    return jobs


def _own_keys(accepted: StartMemo) -> dict[JobId, ProviderKeyId | None]:
    """Return the user's own key for each job, also for those that may follow at an alternative."""
    keys: dict[JobId, ProviderKeyId | None] = {}
    for job in accepted.jobs:
        keys[JobId(job["job_id"])] = accepted.current_key(job["provider"])
        for job_id, provider in accepted.list_following(job):
            keys.setdefault(job_id, accepted.current_key(provider))
    return keys


@dataclass(slots=True, kw_only=True)
class HistoryReader:
    """Folds the events of a run, in order, into its jobs.

    own_keys: the user's own keys when the run was started. _accepted: jobs that this run submitted
    or found. A run submits such a job again only after its send failed at no cost.
    """

    converter: DataConverter
    jobs: dict[JobId, RecordedJob]
    own_keys: Mapping[JobId, ProviderKeyId | None] = field(
        default_factory=dict[JobId, "ProviderKeyId | None"]
    )
    cancel_reason: str | None = None
    outcome: ExecutionOutcome | None = None
    _scheduled: dict[int, tuple[str, JobId, RecordedJob | None]] = field(
        default_factory=dict[int, tuple[str, JobId, "RecordedJob | None"]]
    )
    _accepted: set[JobId] = field(default_factory=set[JobId])

    async def read(self, event: HistoryEvent) -> None:
        kind = event.event_type
        if kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            self._scheduled, self.outcome, self.cancel_reason = {}, None, None
            self._accepted = set()
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            await self._read_scheduled(event)
        elif kind == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            await self._read_completed(event)
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
            signal = event.workflow_execution_signaled_event_attributes
            if signal.signal_name == CANCEL_SIGNAL:
                reason = await self._decode(signal.input.payloads[:1], str)
                self.cancel_reason = self.cancel_reason or reason
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
            self.cancel_reason = self.cancel_reason or NATIVE_CANCEL_REASON
        elif kind == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            payloads = event.workflow_execution_completed_event_attributes.result.payloads
            self.outcome = await self._decode(payloads, ExecutionOutcome)

    def cancel_is_effective(self) -> bool:
        """Return whether the cancel ended the execution or still may.

        An execution that completed before its cancel arrived stays completed.
        """
        if self.outcome is None or self.outcome.status is ExecutionStatus.CANCELLED:
            return True
        failure = self.outcome.failure
        return failure is not None and failure.code is FailureCode.DEADLINE_EXCEEDED

    async def _read_scheduled(self, event: HistoryEvent) -> None:
        scheduled = event.activity_task_scheduled_event_attributes
        name = scheduled.activity_type.name
        if name not in (SUBMIT, FIND):
            return
        job_id = (await self._decode(scheduled.input.payloads, JobRef)).job_id
        before = self.jobs.get(job_id)
        self._scheduled[event.event_id] = (name, job_id, before)
        again = job_id in self._accepted
        if name == SUBMIT and (before is None or before.fate is JobFate.WAITING or again):
            # Until its result is read, the submit may have sent.
            number = (before.send_number if before is not None else 0) + 1
            retired = before.retired if before is not None else ()
            if before is not None and again:
                retired = (*retired, replace(before, retired=()))
            self._accepted.discard(job_id)
            self.jobs[job_id] = RecordedJob(
                fate=JobFate.UNKNOWN,
                send_number=number,
                at=event.event_time.ToDatetime(tzinfo=UTC),
                provider_key_id=self.own_keys.get(job_id),
                retired=retired,
            )

    async def _read_completed(self, event: HistoryEvent) -> None:
        completed = event.activity_task_completed_event_attributes
        scheduled = self._scheduled.get(completed.scheduled_event_id)
        if scheduled is None:
            return
        name, job_id, before = scheduled
        now = self.jobs.get(job_id) or RecordedJob(
            fate=JobFate.WAITING, send_number=0, at=datetime.now(UTC)
        )
        if name == SUBMIT:
            submitted = await self._decode(completed.result.payloads, SubmitJobResult)
            fate = _AFTER_SUBMIT[submitted.outcome]
            result = _after_result(fate, submitted, before, now)
            self.jobs[job_id] = replace(result, until=event.event_time.ToDatetime(tzinfo=UTC))
        else:
            lookup = await self._decode(completed.result.payloads, FindJobResult)
            self.jobs[job_id] = _after_result(_AFTER_FIND[lookup.outcome], lookup, before, now)
        if self.jobs[job_id].fate is JobFate.SUBMITTED:
            self._accepted.add(job_id)

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


def _after_result(
    fate: JobFate,
    result: SubmitJobResult | FindJobResult,
    before: RecordedJob | None,
    now: RecordedJob,
) -> RecordedJob:
    """Return a job after an activity's result.

    A job with an id at its provider is SUBMITTED however it ended: the provider is then asked.
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
    return RecordedJob(
        fate=fate,
        send_number=number,
        provider_job_id=result.provider_job_id,
        failure=failure if fate is JobFate.FAILED else None,
        at=now.at,
        until=now.until,
        provider_key_id=result.provider_key_id,
        key_known=True,
        # A submit that sent nothing returns the id that the job still has.
        retired=tuple(
            send for send in now.retired if send.provider_job_id != result.provider_job_id
        ),
    )
