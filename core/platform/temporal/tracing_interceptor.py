"""Carries the trace of a request through workflows into activities, and records their spans.

The header `traceparent` of a start and of each activity is in clear in the history; it contains
only ids. A workflow's span has an id that its run determines, so activities can name it before it
is exported, which happens once, at its end.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.api.common.v1 import Payload
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.client import OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.converter import PayloadConverter
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    StartActivityInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.worker import Interceptor as WorkerInterceptor

from core.platform.observability import tracing
from core.platform.observability.tracing import Attributes, Kind, Span, TraceContext

HEADER: Final = "traceparent"
LONG_WORKFLOWS: Final = frozenset({"deliver_webhook"})
"""Their activities run days later, when a trace is closed: each begins its own, with a link."""
_IDS: Final = ("execution_id", "job_id", "event_id", "generation", "provider", "model")
_COMPLETES_LATER: Final = "_CompleteAsyncError"
_CONVERTER: Final = PayloadConverter.default

Headers = Mapping[str, Payload]


class TracingInterceptor(ClientInterceptor, WorkerInterceptor):
    """For the client of a process; its workers inherit it."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Client(next)

    def intercept_activity(
        self,
        next: ActivityInboundInterceptor,
    ) -> ActivityInboundInterceptor:
        return _Activity(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:  # fmt: skip
        return _Workflow


class _Client(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.headers = _with_header(input.headers, tracing.traceparent())
        return await super().start_workflow(input)


class _Activity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info, header = activity.info(), _header_of(input.headers)
        begins = info.workflow_type in LONG_WORKFLOWS
        with (
            tracing.within(None if begins else header),
            tracing.span(
                f"activity {info.activity_type}",
                Kind.SERVER,
                is_root=begins,
                links=[header] if begins else (),
                **_ids(input.args),
            ),
        ):
            tracing.note(attempt=info.attempt)
            try:
                return await super().execute_activity(input)
            except Exception as error:
                if not _is_planned(error):
                    raise
                planned = error
        raise planned


class _Workflow(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        result = await super().execute_workflow(input)
        place = _place()
        if place is not None and not workflow.unsafe.is_replaying():
            info = workflow.info()
            tracing.export(
                Span(
                    name=f"workflow {info.workflow_type}",
                    kind=Kind.SERVER,
                    context=place,
                    parent=tracing.parsed(_header_of(info.headers)),
                    attributes=Attributes(execution_id=info.workflow_id),
                    started_ns=round(info.start_time.timestamp() * 1e9),
                    ended_ns=time.time_ns(),
                )
            )
        return result


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        input.headers = _with_header(input.headers, _activity_header())
        return super().start_activity(input)

    def start_local_activity(
        self,
        input: StartLocalActivityInput,
    ) -> workflow.ActivityHandle[Any]:
        input.headers = _with_header(input.headers, _activity_header())
        return super().start_local_activity(input)


def _place() -> TraceContext | None:
    """Return the place of the running workflow's span; None without a trace, and of a long one."""
    info = workflow.info()
    parent = tracing.parsed(_header_of(info.headers))
    if parent is None or info.workflow_type in LONG_WORKFLOWS:
        return None
    span_id = sha256(info.run_id.encode()).hexdigest()[:16]
    return TraceContext(trace_id=parent.trace_id, span_id=span_id, sampled=parent.sampled)


def _activity_header() -> str | None:
    place = _place()
    return _header_of(workflow.info().headers) if place is None else place.traceparent


def _with_header(headers: Headers, traceparent: str | None) -> Headers:
    if traceparent is None:
        return headers
    return {**headers, HEADER: _CONVERTER.to_payload(traceparent)}


def _header_of(headers: Headers) -> str | None:
    payload = headers.get(HEADER)
    try:
        value = None if payload is None else _CONVERTER.from_payload(payload)
    except Exception:  # noqa: BLE001 - a header of another program must not fail a task
        return None
    return value if isinstance(value, str) else None


def _is_planned(error: Exception) -> bool:
    """Return whether an error is how an activity waits: completed later, or repeated as planned."""
    if type(error).__name__ == _COMPLETES_LATER:
        return True
    return isinstance(error, ApplicationError) and error.category is ApplicationErrorCategory.BENIGN


def _ids(arguments: Sequence[object]) -> Attributes:
    """Return the ids of a message and of the references in it."""
    ids: dict[str, str | int] = {}
    for part in _parts(arguments):
        for name in _IDS:
            value = getattr(part, name, None)
            if isinstance(value, str | int):
                ids.setdefault(name, value)
    return Attributes(**ids)  # pyright: ignore[reportArgumentType] - names and types are those of the messages


def _parts(arguments: Sequence[object]) -> Iterator[object]:
    for argument in arguments:
        yield argument
        if is_dataclass(argument):
            yield from (getattr(argument, each.name) for each in fields(argument))
