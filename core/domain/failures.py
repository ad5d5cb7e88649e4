"""Every way a request can go wrong, in one closed list.

    what the user asked for    invalid_request · unauthenticated · insufficient_scope · not_found ·
                               method_not_allowed · unsupported_media_type ·
                               payload_too_large · malformed_request
                               · request_timed_out ·
                               idempotency_conflict · idempotency_in_progress · rate_limited ·
                               budget_exceeded · max_cost_exceeded ·
                               open_limit_reached · content_moderated
                               ·
                               provider_rejected_input ·
                               provider_key_refused ·
                               execution_not_ended · nothing_to_retry
                               ·
                               possible_double_cost · endpoint_exists · endpoint_disabled
    what the operator must do  provider_auth_failed · provider_credit_exhausted ·
    provider_model_unavailable ·
                               provider_not_accepting · service_budget_exceeded
    what time may heal         provider_rate_limited · provider_unavailable ·
    storage_unavailable · service_unavailable
    what happened to a job     provider_failed · provider_timed_out · provider_empty_output ·
    provider_bad_response ·
                               submission_unknown · output_expired ·
                               output_invalid · output_too_large ·
                               output_address_refused ·
                               deadline_exceeded
    what was ordered           cancelled · terminated
    our bug                    internal_error

Two total tables stand over this list and nothing else: failure → Temporal
(core/platform/temporal/failures.py) and failure → HTTP (api/http/problems.py).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FailureCode(StrEnum):
    INVALID_REQUEST = "invalid_request"
    UNAUTHENTICATED = "unauthenticated"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    MALFORMED_REQUEST = "malformed_request"
    REQUEST_TIMED_OUT = "request_timed_out"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"
    RATE_LIMITED = "rate_limited"
    BUDGET_EXCEEDED = "budget_exceeded"
    MAX_COST_EXCEEDED = "max_cost_exceeded"
    OPEN_LIMIT_REACHED = "open_limit_reached"
    CONTENT_MODERATED = "content_moderated"
    PROVIDER_REJECTED_INPUT = "provider_rejected_input"
    PROVIDER_KEY_REFUSED = "provider_key_refused"
    EXECUTION_NOT_ENDED = "execution_not_ended"
    NOTHING_TO_RETRY = "nothing_to_retry"
    POSSIBLE_DOUBLE_COST = "possible_double_cost"
    ENDPOINT_EXISTS = "endpoint_exists"
    ENDPOINT_DISABLED = "endpoint_disabled"
    PROVIDER_AUTH_FAILED = "provider_auth_failed"
    PROVIDER_CREDIT_EXHAUSTED = "provider_credit_exhausted"
    PROVIDER_MODEL_UNAVAILABLE = "provider_model_unavailable"
    PROVIDER_NOT_ACCEPTING = "provider_not_accepting"
    SERVICE_BUDGET_EXCEEDED = "service_budget_exceeded"
    PROVIDER_RATE_LIMITED = "provider_rate_limited"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    STORAGE_UNAVAILABLE = "storage_unavailable"
    SERVICE_UNAVAILABLE = "service_unavailable"
    PROVIDER_FAILED = "provider_failed"
    PROVIDER_TIMED_OUT = "provider_timed_out"
    PROVIDER_EMPTY_OUTPUT = "provider_empty_output"
    PROVIDER_BAD_RESPONSE = "provider_bad_response"
    SUBMISSION_UNKNOWN = "submission_unknown"
    OUTPUT_EXPIRED = "output_expired"
    OUTPUT_INVALID = "output_invalid"
    OUTPUT_TOO_LARGE = "output_too_large"
    OUTPUT_ADDRESS_REFUSED = "output_address_refused"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    INTERNAL_ERROR = "internal_error"


class Acts(StrEnum):
    """Who has to do something before it can work."""

    USER = "user"
    OPERATOR = "operator"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureKind:
    """retryable: the same request may succeed later, unchanged. sentence: what a person is told,
    without internals.
    """

    retryable: bool
    acts: Acts
    sentence: str


def _kind(retryable: bool, acts: Acts, sentence: str) -> FailureKind:
    return FailureKind(retryable=retryable, acts=acts, sentence=sentence)


FAILURES: Final[dict[FailureCode, FailureKind]] = {
    FailureCode.INVALID_REQUEST: _kind(False, Acts.USER, "The request is not valid."),
    FailureCode.UNAUTHENTICATED: _kind(False, Acts.USER, "A valid API key is needed."),
    FailureCode.INSUFFICIENT_SCOPE: _kind(
        False, Acts.USER, "This needs a scope that the credential does not have."
    ),
    FailureCode.NOT_FOUND: _kind(False, Acts.USER, "There is nothing at this address."),
    FailureCode.METHOD_NOT_ALLOWED: _kind(
        False, Acts.USER, "This address does not take this method."
    ),
    FailureCode.UNSUPPORTED_MEDIA_TYPE: _kind(
        False, Acts.USER, "The body must be application/json."
    ),
    FailureCode.PAYLOAD_TOO_LARGE: _kind(
        False, Acts.USER, "The body is larger than this service accepts."
    ),
    FailureCode.MALFORMED_REQUEST: _kind(
        False, Acts.USER, "This is not a request in HTTP/1.1 that can be understood."
    ),
    FailureCode.REQUEST_TIMED_OUT: _kind(True, Acts.NOBODY, "The request did not arrive in time."),
    FailureCode.IDEMPOTENCY_CONFLICT: _kind(
        False, Acts.USER, "This Idempotency-Key was used before with another body."
    ),
    FailureCode.IDEMPOTENCY_IN_PROGRESS: _kind(
        True, Acts.NOBODY, "The first request with this Idempotency-Key is still being answered."
    ),
    FailureCode.RATE_LIMITED: _kind(
        True, Acts.NOBODY, "Requests come faster than they may with this credential."
    ),
    FailureCode.BUDGET_EXCEEDED: _kind(
        False, Acts.USER, "The budget does not have room for this request."
    ),
    FailureCode.MAX_COST_EXCEEDED: _kind(
        False, Acts.USER, "The request may cost more than its own maxCost."
    ),
    FailureCode.OPEN_LIMIT_REACHED: _kind(
        True, Acts.NOBODY, "As many executions of this user are open as may be."
    ),
    FailureCode.CONTENT_MODERATED: _kind(
        False, Acts.USER, "The provider refused the content of this request."
    ),
    FailureCode.PROVIDER_REJECTED_INPUT: _kind(
        False, Acts.USER, "The provider refused the input of this step."
    ),
    FailureCode.PROVIDER_KEY_REFUSED: _kind(
        False, Acts.USER, "The provider refused your own key for it."
    ),
    FailureCode.EXECUTION_NOT_ENDED: _kind(True, Acts.NOBODY, "The execution has not ended yet."),
    FailureCode.NOTHING_TO_RETRY: _kind(
        False, Acts.USER, "The execution has completed: there is nothing to retry."
    ),
    FailureCode.POSSIBLE_DOUBLE_COST: _kind(
        True,
        Acts.NOBODY,
        "A step would be bought again while it is not known what its last purchase costs.",
    ),
    FailureCode.ENDPOINT_EXISTS: _kind(
        False, Acts.USER, "There is an endpoint of this address already."
    ),
    FailureCode.ENDPOINT_DISABLED: _kind(
        False, Acts.USER, "Nothing is sent to this endpoint: it is disabled."
    ),
    FailureCode.PROVIDER_AUTH_FAILED: _kind(
        False, Acts.OPERATOR, "The provider refused this service's key; its operator has to act."
    ),
    FailureCode.PROVIDER_CREDIT_EXHAUSTED: _kind(
        False,
        Acts.OPERATOR,
        "This service's account at the provider is out of credit; its operator has to act.",
    ),
    FailureCode.PROVIDER_MODEL_UNAVAILABLE: _kind(
        False, Acts.OPERATOR, "The provider does not offer this model any more."
    ),
    FailureCode.PROVIDER_NOT_ACCEPTING: _kind(
        True,
        Acts.OPERATOR,
        "This service can buy nothing at this provider now; its operator has to act.",
    ),
    FailureCode.SERVICE_BUDGET_EXCEEDED: _kind(
        True, Acts.OPERATOR, "This service has spent what it may spend today."
    ),
    FailureCode.PROVIDER_RATE_LIMITED: _kind(
        True, Acts.NOBODY, "The provider is limiting our rate."
    ),
    FailureCode.PROVIDER_UNAVAILABLE: _kind(True, Acts.NOBODY, "The provider cannot be reached."),
    FailureCode.STORAGE_UNAVAILABLE: _kind(
        True, Acts.NOBODY, "The file storage cannot be reached."
    ),
    FailureCode.SERVICE_UNAVAILABLE: _kind(
        True, Acts.NOBODY, "This service cannot answer right now."
    ),
    FailureCode.PROVIDER_FAILED: _kind(
        True, Acts.NOBODY, "The provider could not finish this step."
    ),
    FailureCode.PROVIDER_TIMED_OUT: _kind(
        True, Acts.NOBODY, "The provider did not finish this step in time."
    ),
    FailureCode.PROVIDER_EMPTY_OUTPUT: _kind(
        True, Acts.NOBODY, "The provider finished without producing a file."
    ),
    FailureCode.PROVIDER_BAD_RESPONSE: _kind(
        True, Acts.NOBODY, "The provider gave an answer that could not be understood."
    ),
    FailureCode.SUBMISSION_UNKNOWN: _kind(
        False, Acts.OPERATOR, "It could not be found out whether the provider accepted this step."
    ),
    FailureCode.OUTPUT_EXPIRED: _kind(
        False, Acts.USER, "The provider deleted the file before it could be stored."
    ),
    FailureCode.OUTPUT_INVALID: _kind(
        False, Acts.USER, "The file that the provider produced is not usable."
    ),
    FailureCode.OUTPUT_TOO_LARGE: _kind(
        False, Acts.USER, "The file that the provider produced is too large."
    ),
    FailureCode.OUTPUT_ADDRESS_REFUSED: _kind(
        False,
        Acts.OPERATOR,
        "The file that the provider produced lies at an address that this service does not call.",
    ),
    FailureCode.DEADLINE_EXCEEDED: _kind(
        True, Acts.NOBODY, "The request did not end before its deadline."
    ),
    FailureCode.CANCELLED: _kind(True, Acts.USER, "The request was cancelled."),
    FailureCode.TERMINATED: _kind(True, Acts.OPERATOR, "An operator terminated the request."),
    FailureCode.INTERNAL_ERROR: _kind(True, Acts.OPERATOR, "Something went wrong in this service."),
}

STOPS_A_PROVIDER: Final = frozenset(
    {FailureCode.PROVIDER_AUTH_FAILED, FailureCode.PROVIDER_CREDIT_EXHAUSTED}
)
"""What a create call is refused with when the provider refuses us, and not this request: the next
would be, too.
"""
TRIPS_A_BREAKER: Final = STOPS_A_PROVIDER | {FailureCode.PROVIDER_KEY_REFUSED}
"""The same, and of a user's own key: that stops nobody but this user."""

MESSAGE_MAX_CHARS = 500
"""Text from outside that travels (histories, rows, answers) is cut here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure that happened. message: a sentence for a person; never a key, an internal address
    or a stack trace.
    """

    code: FailureCode
    message: str

    @classmethod
    def of(cls, code: FailureCode, detail: str = "") -> "Failure":
        sentence = FAILURES[code].sentence
        text = f"{sentence} {detail}".strip() if detail else sentence
        return cls(code=code, message=text[:MESSAGE_MAX_CHARS])

    @property
    def retryable(self) -> bool:
        return FAILURES[self.code].retryable
