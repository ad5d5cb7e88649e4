"""The decision what became of a create call, the one paid request.

| what happened                                                          | outcome        |
|------------------------------------------------------------------------|----------------|
| no byte of the request left this process                               | NOT_ACCEPTED   |
| 2xx that names a usable job id                                         | ACCEPTED       |
| a status of REFUSALS, in the vendor's own error format, without a job id | NOT_ACCEPTED |
| anything else: timeouts, cut responses, 3xx, 5xx, a proxy's page       | UNKNOWN        |

An UNKNOWN send is looked up and never sent again (see `core.jobs.lookups.lookup`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from core.domain.failures import Failure, FailureCode
from core.domain.messages.jobs import ProviderHandle
from core.providers.http.responses import Response, requested_delay
from core.providers.http.transport import Sent
from core.providers.port import CreateAnswer, CreateOutcome

REFUSALS: Final[Mapping[int, FailureCode]] = {
    400: FailureCode.PROVIDER_REJECTED_INPUT,
    401: FailureCode.PROVIDER_AUTH_FAILED,
    402: FailureCode.PROVIDER_CREDIT_EXHAUSTED,
    403: FailureCode.PROVIDER_AUTH_FAILED,
    404: FailureCode.PROVIDER_MODEL_UNAVAILABLE,
    413: FailureCode.PROVIDER_REJECTED_INPUT,
    415: FailureCode.PROVIDER_REJECTED_INPUT,
    422: FailureCode.PROVIDER_REJECTED_INPUT,
    429: FailureCode.PROVIDER_RATE_LIMITED,
}
"""Statuses that mean "not accepted" if the body is in the vendor's own error format.

With any other status or body the provider may still run the job.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A refusal in the vendor's own error format.

    code: set where the body is more precise than the status. detail: already scrubbed.
    """

    code: FailureCode | None = None
    detail: str = ""
    retry_after_seconds: float = 0.0


def create_outcome(
    sent: Sent,
    read_handle: Callable[[Response], ProviderHandle | None],
    read_refusal: Callable[[Response], Refusal | None],
    refusals: Mapping[int, FailureCode] = REFUSALS,
) -> CreateAnswer:
    """Decide what became of a create call. Raises nothing.

    read_handle: returns the job that a response names, or None without a usable id.
    read_refusal: returns the refusal, or None if the body is not in the vendor's error format.
    refusals: the statuses that can be a refusal.
    """
    response = sent.response
    if response is None:
        if sent.bytes_left:
            return CreateAnswer(outcome=CreateOutcome.UNKNOWN, note=sent.note)
        code = (
            FailureCode.INTERNAL_ERROR if sent.internal_error else FailureCode.PROVIDER_UNAVAILABLE
        )
        return CreateAnswer(
            outcome=CreateOutcome.NOT_ACCEPTED, failure=Failure.of(code), note=sent.note
        )
    unknown = CreateAnswer(
        outcome=CreateOutcome.UNKNOWN, status_code=response.status_code, note=sent.note
    )
    try:
        return _definite(response, read_handle(response), read_refusal, refusals) or unknown
    except Exception as error:  # noqa: BLE001 - a response that breaks its reader is not definite
        return replace(unknown, note=f"{sent.note} {type(error).__name__}")


def _definite(
    response: Response,
    handle: ProviderHandle | None,
    read_refusal: Callable[[Response], Refusal | None],
    refusals: Mapping[int, FailureCode],
) -> CreateAnswer | None:
    """Return the outcome of a success with a job id or of a refusal without one, else None."""
    if response.has_duplicate_names:
        return None
    status = response.status_code
    if response.ok and handle is not None:
        return CreateAnswer(
            outcome=CreateOutcome.ACCEPTED, handle=handle, status_code=status, note=response.note
        )
    if status not in refusals or handle is not None or not response.declares_json:
        return None
    if (refusal := read_refusal(response)) is None:
        return None
    return CreateAnswer(
        outcome=CreateOutcome.NOT_ACCEPTED,
        failure=Failure.of(refusal.code or refusals[status], refusal.detail),
        retry_after_seconds=requested_delay(response) or refusal.retry_after_seconds,
        status_code=status,
        note=response.note,
    )
