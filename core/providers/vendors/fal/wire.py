"""Translation between our messages and fal's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import JobReport
from core.domain.states import JobState
from core.providers.http.create_outcome import Refusal
from core.providers.http.read_outcome import Meaning, Read, read_meaning
from core.providers.http.responses import (
    Response,
    as_job_id,
    as_list,
    as_object,
    as_text,
    as_time,
    scrubbed,
    unavailable,
)
from core.providers.lists.matching import Candidate, Inputs
from core.providers.models import OutputField
from core.providers.outputs import read_outputs
from core.providers.pricing import billed_quantity

_CANCELLED_TYPES: Final = frozenset({"client_cancelled", "client_disconnected"})
_TIMEOUT_TYPES: Final = frozenset({"request_timeout", "startup_timeout", "generation_timeout"})
# What fal's own clients repeat. Not `request_timeout`: that deadline is set by this service.
_TRANSIENT_TYPES: Final = frozenset(
    {
        "downstream_service_error",
        "downstream_service_unavailable",
        "generation_timeout",
        "internal_error",
        "internal_server_error",
        "runner_connection_error",
        "runner_connection_refused",
        "runner_connection_timeout",
        "runner_disconnected",
        "runner_incomplete_response",
        "runner_scheduling_failure",
        "runner_server_error",
        "startup_timeout",
    }
)
_UNREACHED_FILE: Final = frozenset({"file_download_error"})
"""fal could not fetch an input. Inputs are checked files in our storage or at a provider, so this
was unavailable.
"""
_RETRYABLE_HEADERS: Final = ("x-fal-retryable", "x-fal-needs-retry")
_INPUT_REJECTED: Final = frozenset({400, 413, 415, 422})
_TRANSIENT_CODES: Final = frozenset({FailureCode.PROVIDER_FAILED, FailureCode.PROVIDER_TIMED_OUT})


def read_refusal(response: Response) -> Refusal | None:
    """Return the refusal of a create call, or None if the body is not in fal's error format."""
    body = response.object()
    if not _has_error_format(body):
        return None
    if "content_policy_violation" in _error_types(response):
        return Refusal(code=FailureCode.CONTENT_MODERATED)
    return Refusal(detail=_message(body) if response.status_code in _INPUT_REJECTED else "")


def read_candidate(item: Mapping[str, object]) -> Candidate:
    """Return an item of fal's history as a candidate for a look-up."""
    inputs = as_object(item.get("json_input"))
    return Candidate(
        job_id=as_job_id(item.get("request_id")),
        sent_at=as_time(item.get("sent_at")),
        inputs=Inputs.of(inputs) if inputs else None,
        listable_at=as_time(item.get("ended_at")),
    )


def cancelled_report() -> JobReport:
    """Return the report of a job cancelled before it had an output: fal bills outputs only."""
    return JobReport(
        state=JobState.CANCELLED, failure=Failure.of(FailureCode.CANCELLED), charged=False
    )


def has_error(status: Mapping[str, object]) -> bool:
    """Return whether a COMPLETED status reports that the run failed."""
    return bool(status.get("error") or status.get("error_type"))


def history_shows_error(history: Response, request_id: str) -> bool:
    """Return whether fal's history lists this request as failed.

    False if the history does not show the request yet, or shows it as successful.
    """
    for entry in map(as_object, as_list(history.object().get("items"))):
        status_code = entry.get("status_code")
        if entry.get("request_id") == request_id and isinstance(status_code, int):
            return status_code >= 400
    return False


def ended_report(
    status: Mapping[str, object],
    result: Response,
    outputs: Sequence[OutputField],
    *,
    error_confirmed: bool,
) -> JobReport:
    """Return the report of a COMPLETED request, which may have succeeded or failed.

    The result's response carries the model's own status code.
    outputs: where the model's result holds its files.
    error_confirmed: the status or the history reports that the run failed. Without it a response
    with an error status describes the read and not the job.
    Raises ProviderUnavailableError if the result could not be read.
    """
    body = result.object()
    units = result.headers.get("x-fal-billable-units")
    units = units if billed_quantity(units) is not None else None
    if read_meaning(Read.RESULT, result) is Meaning.ANSWERED:
        return _output_report(outputs, body, units)
    if not error_confirmed:
        raise unavailable(result)
    types = _error_types(result, status.get("error_type"))
    if types & _CANCELLED_TYPES or result.status_code == 499:
        return cancelled_report()
    code = _failure_code(types, result.status_code)
    detail = _message(body) if code is FailureCode.PROVIDER_REJECTED_INPUT else ""
    # fal bills outputs and no failures, unless this header reports a quantity.
    report = _failed_report(code, detail, units=units, charged=units is not None)
    temporary = code in _TRANSIENT_CODES and _is_transient(types, result)
    return replace(report, transient=temporary or not types.isdisjoint(_UNREACHED_FILE))


def _is_transient(types: frozenset[str], result: Response) -> bool:
    """Return whether fal calls a failure temporary: by its header, else by the error's type."""
    for name in _RETRYABLE_HEADERS:
        if word := result.headers.get(name, "").strip().lower():
            return word in ("1", "true")
    return not types.isdisjoint(_TRANSIENT_TYPES)


def _output_report(
    fields: Sequence[OutputField], body: Mapping[str, object], units: str | None
) -> JobReport:
    outputs = read_outputs(fields, body)
    if True in as_list(body.get("has_nsfw_concepts")):
        # The image is black, and it is billed.
        return _failed_report(FailureCode.CONTENT_MODERATED, units=units, charged=True)
    if not outputs:
        return _failed_report(FailureCode.PROVIDER_EMPTY_OUTPUT, units=units, charged=None)
    return JobReport(state=JobState.COMPLETED, outputs=outputs, billed_units=units, charged=True)


def _failed_report(
    code: FailureCode, detail: str = "", *, units: str | None, charged: bool | None
) -> JobReport:
    return JobReport(
        state=JobState.FAILED, failure=Failure.of(code, detail), billed_units=units, charged=charged
    )


def _failure_code(types: frozenset[str], status_code: int) -> FailureCode:
    if "content_policy_violation" in types:
        return FailureCode.CONTENT_MODERATED
    if "no_media_generated" in types:
        return FailureCode.PROVIDER_EMPTY_OUTPUT
    if types & _TIMEOUT_TYPES or status_code == 504:
        return FailureCode.PROVIDER_TIMED_OUT
    if status_code in _INPUT_REJECTED:
        return FailureCode.PROVIDER_REJECTED_INPUT
    return FailureCode.PROVIDER_FAILED


def _has_error_format(body: Mapping[str, object]) -> bool:
    detail = body.get("detail")
    return bool(as_text(detail)) or (bool(as_list(detail)) and all(map(as_object, as_list(detail))))


def _error_types(response: Response, *more: object) -> frozenset[str]:
    body = response.object()
    listed = (as_object(item).get("type") for item in as_list(body.get("detail")))
    header = response.headers.get("x-fal-error-type")
    return frozenset(map(as_text, [*listed, body.get("error_type"), header, *more]))


def _message(body: Mapping[str, object]) -> str:
    """Return fal's first complaint as "field: message", scrubbed."""
    detail = body.get("detail")
    if isinstance(detail, str):
        return scrubbed(detail)
    first = as_object(next(iter(as_list(detail)), None))
    field = as_text(next(reversed(as_list(first.get("loc"))), None))
    return scrubbed(": ".join(part for part in (field, as_text(first.get("msg"))) if part))
