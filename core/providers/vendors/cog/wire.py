"""Translation between our messages and the JSON of Cog's HTTP server (cog 0.23)."""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from core.domain.failures import Failure, FailureCode
from core.domain.media.content import SNIFF_BYTES, MediaError, require_kind
from core.domain.messages.jobs import JobReport, Output
from core.domain.states import JobState
from core.providers.http.create_outcome import Refusal
from core.providers.http.responses import (
    Response,
    as_list,
    as_media_url,
    as_object,
    as_seconds,
    as_text,
    scrubbed,
)
from core.providers.models import OutputField
from core.providers.outputs import value_at

STATUS_BODY: Final[Mapping[str, object]] = {"input": "status"}
"""The body of a request that reads a prediction's state.

A server returns the state of a prediction that it runs, whatever the body. It refuses an input that
is no object, so the request starts nothing.
"""
REFUSALS: Final[Mapping[int, FailureCode]] = {
    409: FailureCode.PROVIDER_UNAVAILABLE,
    422: FailureCode.PROVIDER_REJECTED_INPUT,
    503: FailureCode.PROVIDER_UNAVAILABLE,
}
"""All slots are busy, the input is not valid, the model is not set up yet."""
_SNIFF_CHARS: Final = 4 * -(-SNIFF_BYTES // 3)
"""Whole groups of base64, with which a file begins."""
LOST: Final = JobReport(
    state=JobState.FAILED,
    failure=Failure.of(FailureCode.PROVIDER_FAILED, "The result of the model did not arrive."),
    charged=False,
    transient=True,
)
"""The report of a prediction that the server does not run, and whose callback has not arrived."""


def prediction_id(name: str, callback_url: str) -> str:
    """Return the id of a send's prediction: the same each time, and of no other send.

    name: of the model, which the callback does not state.
    """
    return f"{name}-{hashlib.sha256(callback_url.encode()).hexdigest()[:40]}"


def model_name(prediction: str) -> str:
    """Return the model's name in the id of a prediction, or "" for another id."""
    return prediction.rpartition("-")[0]


def read_refusal(response: Response) -> Refusal | None:
    """Return the refusal of a create call, or None if the body is not in Cog's own format."""
    body = response.object()
    if response.status_code == 422:
        details = [as_object(item) for item in as_list(body.get("detail"))]
        messages = [_message(item) for item in details]
        return Refusal(detail=scrubbed("; ".join(messages))) if all(messages) and details else None
    return Refusal() if as_text(body.get("error")) and body.get("status") == "failed" else None


def _message(detail: Mapping[str, object]) -> str:
    """Return an error of validation with the name of its input, or "" for another format."""
    location, text = as_list(detail.get("loc")), as_text(detail.get("msg"))
    name = as_text(location[-1]) if location else ""
    return f"{name}: {text}" if name and text else ""


def is_running(response: Response) -> bool | None:
    """Return whether the server runs the prediction; None if the response does not show it.

    A server without a schema does not check inputs. It runs the request of a status as a prediction
    of its own, which fails at once, and returns a state without a log.
    """
    body = response.object()
    if response.status_code == 202:
        return "logs" in body if as_text(body.get("status")) else None
    refused = response.status_code in (409, 422) and read_refusal(response) is not None
    return False if refused else None


def read_report(body: Mapping[str, object], fields: Sequence[OutputField]) -> JobReport:
    """Return the report of a prediction; an unknown status counts as still running.

    fields: where the prediction holds its files. Only a completed prediction is charged: the price
    is the operator's own.
    """
    run_seconds = as_seconds(as_object(body.get("metrics")).get("predict_time"))
    match body.get("status"):
        case "succeeded":
            return _succeeded_report(body, fields, run_seconds)
        case "failed":
            failure = Failure.of(FailureCode.PROVIDER_FAILED, scrubbed(as_text(body.get("error"))))
            state = JobState.FAILED
        case "canceled":
            failure, state = Failure.of(FailureCode.CANCELLED), JobState.CANCELLED
        case _:
            return JobReport(state=JobState.SUBMITTED)
    return JobReport(state=state, failure=failure, run_seconds=run_seconds, charged=False)


def _succeeded_report(
    body: Mapping[str, object], fields: Sequence[OutputField], run_seconds: float | None
) -> JobReport:
    outputs = tuple(
        Output(url=url, kind=field.kind)
        for field in fields
        for item in _items(value_at(body, field.path))
        if (url := _file_url(item))
    )
    if not outputs:
        failure = Failure.of(FailureCode.PROVIDER_EMPTY_OUTPUT)
        return JobReport(state=JobState.FAILED, failure=failure, charged=False)
    if not all(map(_is_of_its_kind, outputs)):
        failure = Failure.of(FailureCode.OUTPUT_INVALID, "The model returned another kind of file.")
        return JobReport(state=JobState.FAILED, failure=failure, charged=False)
    return JobReport(
        state=JobState.COMPLETED, outputs=outputs, run_seconds=run_seconds, charged=True
    )


def _is_of_its_kind(output: Output) -> bool:
    """Return False for a file within the callback that is not of the kind of its model.

    Such a file can never be stored, and a step would wait for it until its deadline.
    """
    if not output.is_inline:
        return True
    head, _, data = output.url.partition(",")
    if not head.endswith(";base64"):
        return False
    try:
        require_kind(base64.b64decode(data[:_SNIFF_CHARS]), output.kind)
    except (binascii.Error, MediaError):
        return False
    return True


def _items(value: object) -> Sequence[object]:
    return as_list(value) or (value,)


def _file_url(value: object) -> str | None:
    """Return the address of a file, which may contain the file itself (`data:`)."""
    text = as_text(value)
    return text if text.startswith("data:") else as_media_url(value)
