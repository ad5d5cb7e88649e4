"""Which failures of a job the provider calls temporary."""

import json

import pytest

from core.domain.failures import FailureCode
from core.domain.messages.jobs import JobReport
from core.providers.entries import IMAGES
from core.providers.http.responses import Response
from core.providers.vendors.fal.wire import ended_report
from core.providers.vendors.replicate.wire import read_report


def fal_report(
    error_type: str, *, status: int = 500, headers: dict[str, str] | None = None
) -> JobReport:
    body = {"detail": [{"loc": ["body"], "msg": "It failed.", "type": error_type}]}
    result = Response(status_code=status, headers=headers or {}, body=json.dumps(body).encode())
    return ended_report({"error": "It failed."}, result, IMAGES, error_confirmed=True)


@pytest.mark.parametrize(
    ("error_type", "headers", "transient"),
    [
        ("internal_server_error", {}, True),
        ("generation_timeout", {}, True),
        ("runner_scheduling_failure", {}, True),
        ("internal_server_error", {"x-fal-retryable": "false"}, False),
        ("some_new_error", {"x-fal-retryable": "true"}, True),
        ("some_new_error", {"x-fal-needs-retry": "1"}, True),
        ("some_new_error", {"x-fal-needs-retry": "0"}, False),
        ("some_new_error", {}, False),
        ("request_timeout", {}, False),
        ("content_policy_violation", {"x-fal-retryable": "true"}, False),
        ("no_media_generated", {"x-fal-retryable": "true"}, False),
    ],
)
def test_fal_failure_is_transient_by_its_header_or_type(
    error_type: str, headers: dict[str, str], transient: bool
) -> None:
    report = fal_report(error_type, headers=headers)
    assert report.transient is transient
    assert report.is_free_and_transient is transient


@pytest.mark.parametrize("headers", [{}, {"x-fal-retryable": "false"}])
def test_input_that_fal_could_not_fetch_is_sent_again(headers: dict[str, str]) -> None:
    """The vendor means a wrong address; ours are of checked files: the storage was down."""
    report = fal_report("file_download_error", status=422, headers=headers)
    assert report.failure is not None
    assert report.failure.code is FailureCode.PROVIDER_REJECTED_INPUT
    assert report.is_free_and_transient


def test_fal_failure_with_billed_units_is_not_free() -> None:
    report = fal_report("internal_server_error", headers={"x-fal-billable-units": "2"})
    assert (report.transient, report.is_free_and_transient) == (True, False)


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        ("Prediction interrupted; please retry (code: PA)", True),
        ("Director: unexpected error handling prediction (E8765)", True),
        ("The model is out of capacity. Please try again later.", True),
        ("Service is temporarily unavailable. Please try again later. (E004)", True),
        ("Service unavailable due to high demand (E003)", True),
        ("CUDA out of memory", False),
        ("Internal server error", False),
        ("The input or output was flagged as sensitive. Please retry (E005)", False),
        ("The capacity of the clip is 10 s", False),
        ("", False),
    ],
)
def test_replicate_failure_is_transient_by_its_text(error: str, transient: bool) -> None:
    report = read_report({"status": "failed", "error": error}, IMAGES, None)
    assert (report.transient, report.is_free_and_transient) == (transient, transient)


@pytest.mark.parametrize("status", ["canceled", "aborted", "succeeded"])
def test_other_ends_of_a_prediction_are_not_transient(status: str) -> None:
    """What stopped by its deadline had no time left; an empty success is billed."""
    body = {"status": status, "error": "Prediction interrupted; please retry"}
    report = read_report(body, IMAGES, None)
    assert not report.transient
    assert report.failure is not None
    assert report.failure.code is not FailureCode.PROVIDER_FAILED
