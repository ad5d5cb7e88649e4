"""Translation between our messages and Replicate's JSON."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import JobReport
from core.domain.states import JobState
from core.providers.http.create_outcome import Refusal
from core.providers.http.responses import (
    Response,
    as_job_id,
    as_list,
    as_object,
    as_seconds,
    as_text,
    as_time,
    retry_after_seconds,
    scrubbed,
)
from core.providers.lists.matching import Candidate, Inputs, fingerprint_of_text
from core.providers.models import OutputField
from core.providers.outputs import read_outputs, value_at

# Official models end a refusal with a code in parentheses; flagged content has E005.
# Texts without a code are judged by whole phrases: a bare word such as "sensitive" also occurs in
# other errors ("codec names are case-sensitive").
_CODE: Final = re.compile(r"\((E[0-9]{3,4})\)")
_MODERATION_CODES: Final = frozenset({"E005"})
_MODERATION_PHRASES: Final = re.compile(
    r"(?i)\bflagged (?:as|by|for)\b|\bnsfw (?:content|image|output|prompt)s?\b"
    r"|\bsensitive (?:content|material|information)\b"
    r"|\bcontent (?:moderation|policy|policies)\b|\bmoderation (?:policy|system|filter|check)\b"
    r"|\b(?:rejected|blocked|refused) by (?:the )?(?:moderation|safety)\b"
    r"|\bsafety (?:filter|check|checker|system)s?\b"
)
# "Prediction interrupted; please retry (code: PA)": the machine was reclaimed. "Director:
# unexpected error handling prediction (E8765)": the machine failed. The rest: no free machine.
_TRANSIENT_PHRASES: Final = re.compile(
    r"(?i)\bprediction interrupted\b|\bplease retry\b|\(code: PA\)"
    r"|^director: unexpected error handling prediction\b"
    r"|\b(?:out of|no|insufficient) (?:gpu )?capacity\b|\bqueue is full\b|\bhigh demand\b"
    r"|\b(?:service|model) is (?:temporarily |currently )(?:unavailable|overloaded)\b"
)
_MOST: Final = 10**9
_RESETS_IN: Final = re.compile(r"resets in ~?([0-9]{1,9})\s*s")


def _is_moderation(message: str) -> bool:
    """Return whether a failure text means refused content: by its code, else by whole phrases."""
    if code := _CODE.search(message):
        return code[1] in _MODERATION_CODES
    return _MODERATION_PHRASES.search(message) is not None


def read_refusal(response: Response, now: float) -> Refusal | None:
    """Return the refusal of a create call, or None if the body is not a problem document."""
    body = response.object()
    message = _problem_message(body)
    if message is None or body.get("status", response.status_code) != response.status_code:
        return None
    delay = 0.0
    if response.status_code == 429:
        resets = _RESETS_IN.search(message)
        text = resets[1] if resets else response.headers.get("ratelimit-reset")
        delay = retry_after_seconds(text, datetime.fromtimestamp(now, UTC))
    if response.status_code not in (400, 413, 415, 422):
        return Refusal(retry_after_seconds=delay)
    if _is_moderation(message):
        return Refusal(code=FailureCode.CONTENT_MODERATED)
    return Refusal(detail=scrubbed(message))


def _problem_message(body: Mapping[str, object]) -> str | None:
    """Return the message of a problem document, or None for another format."""
    detail = body.get("detail")
    if first := next(iter(as_list(detail)), None):
        detail = first if isinstance(first, str) else as_object(first).get("msg")
    return as_text(detail) or as_text(body.get("title")) or None


def read_candidate(item: Mapping[str, object]) -> Candidate:
    """Return a listed prediction as a candidate for a look-up."""
    inputs, webhook = as_object(item.get("input")), as_text(item.get("webhook"))
    return Candidate(
        job_id=as_job_id(item.get("id")),
        sent_at=as_time(item.get("created_at")),
        inputs=Inputs.of(inputs) if inputs else None,
        callback=fingerprint_of_text(webhook) if webhook else None,
        listable_at=as_time(item.get("created_at")),
    )


def read_report(
    body: Mapping[str, object], fields: Sequence[OutputField], billed: str | None
) -> JobReport:
    """Return the report of a prediction; an unknown status counts as still running.

    fields: where the prediction holds its files. billed: where it holds the billed quantity.
    """
    match body.get("status"):
        case "succeeded":
            return _succeeded_report(body, fields, billed)
        case "failed":
            return _failed_report(body)
        case "canceled":
            return _canceled_report(body)
        case "aborted":  # its deadline passed before it started
            return JobReport(
                state=JobState.FAILED,
                failure=Failure.of(FailureCode.PROVIDER_TIMED_OUT),
                charged=False,
            )
        case _:
            return JobReport(state=JobState.SUBMITTED)


def _succeeded_report(
    body: Mapping[str, object], fields: Sequence[OutputField], billed: str | None
) -> JobReport:
    outputs = read_outputs(fields, body)
    if outputs:
        return JobReport(
            state=JobState.COMPLETED,
            outputs=outputs,
            billed_units=_quantity(value_at(body, billed)) if billed else None,
            run_seconds=_run_seconds(body),
            charged=True,
        )
    expired = body.get("data_removed") is True
    code = FailureCode.OUTPUT_EXPIRED if expired else FailureCode.PROVIDER_EMPTY_OUTPUT
    return JobReport(
        state=JobState.FAILED, failure=Failure.of(code), charged=True if expired else None
    )


def _quantity(value: object) -> str | None:
    """Return a measured number as the started whole units that are billed, None without one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST:
        return None
    return str(math.ceil(value))


def _failed_report(body: Mapping[str, object]) -> JobReport:
    error = as_text(body.get("error"))
    moderated = _is_moderation(error)
    if moderated:
        failure = Failure.of(FailureCode.CONTENT_MODERATED)
    else:
        failure = Failure.of(FailureCode.PROVIDER_FAILED, scrubbed(error))
    return JobReport(
        state=JobState.FAILED,
        failure=failure,
        run_seconds=_run_seconds(body),
        charged=False,
        transient=not moderated and _TRANSIENT_PHRASES.search(error) is not None,
    )


def _canceled_report(body: Mapping[str, object]) -> JobReport:
    """Return the report of a canceled prediction, which is charged if it ran.

    Replicate also reports "canceled" when a prediction's own deadline (Cancel-After) ended it;
    that is a timeout.
    """
    run_seconds = _run_seconds(body)
    deadline, ended = as_time(body.get("deadline")), as_time(body.get("completed_at"))
    timed_out = deadline is not None and ended is not None and ended >= deadline
    code = FailureCode.PROVIDER_TIMED_OUT if timed_out else FailureCode.CANCELLED
    return JobReport(
        state=JobState.FAILED if timed_out else JobState.CANCELLED,
        failure=Failure.of(code),
        run_seconds=run_seconds,
        charged=run_seconds is not None,
    )


def _run_seconds(body: Mapping[str, object]) -> float | None:
    """Return the run time that Replicate measured, else the time from start to end."""
    seconds = as_seconds(as_object(body.get("metrics")).get("predict_time"))
    started, ended = as_time(body.get("started_at")), as_time(body.get("completed_at"))
    if seconds is None and started is not None and ended is not None:
        return max(0.0, (ended - started).total_seconds())
    return seconds
