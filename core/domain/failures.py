"""Every way a request can fail, as one closed list of codes.

    the request             invalid_request, unauthenticated, insufficient_scope, not_found,
                            method_not_allowed, unsupported_media_type, payload_too_large,
                            transfer_coding_unsupported,
                            malformed_request, request_timed_out, idempotency_conflict,
                            idempotency_in_progress, rate_limited, budget_exceeded,
                            key_spend_limit_exceeded, max_cost_exceeded,
                            open_limit_reached, queue_full,
                            content_moderated, provider_rejected_input, provider_key_refused,
                            execution_not_ended, execution_not_final, nothing_to_retry,
                            possible_double_cost, approval_not_open, approval_decided,
                            endpoint_exists, endpoint_disabled, media_unsupported,
                            media_damaged, media_too_large, media_unavailable,
                            asset_limit_reached, asset_in_use, asset_deleted,
                            media_limit_reached
    the operator must act   provider_auth_failed, provider_credit_exhausted,
                            provider_model_unavailable, provider_not_accepting,
                            service_budget_exceeded
    usually temporary       provider_queue_full, provider_rate_limited, provider_unavailable,
                            storage_unavailable, service_unavailable
    the outcome of a job    provider_failed, provider_timed_out, provider_empty_output,
                            provider_bad_response, submission_unknown, output_expired,
                            output_invalid, output_too_large, output_address_refused,
                            media_failed,
                            queue_timed_out, deadline_exceeded, approval_expired
    ended by request        cancelled, terminated, approval_rejected
    a defect of the service internal_error

Two total tables map this list: to Temporal errors (core/platform/temporal/failures.py) and to HTTP
responses (api/http/problems/documents.py).
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
    TRANSFER_CODING_UNSUPPORTED = "transfer_coding_unsupported"
    MALFORMED_REQUEST = "malformed_request"
    REQUEST_TIMED_OUT = "request_timed_out"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"
    RATE_LIMITED = "rate_limited"
    BUDGET_EXCEEDED = "budget_exceeded"
    KEY_SPEND_LIMIT_EXCEEDED = "key_spend_limit_exceeded"
    MAX_COST_EXCEEDED = "max_cost_exceeded"
    OPEN_LIMIT_REACHED = "open_limit_reached"
    QUEUE_FULL = "queue_full"
    TOO_MANY_STREAMS = "too_many_streams"
    CONTENT_MODERATED = "content_moderated"
    PROVIDER_REJECTED_INPUT = "provider_rejected_input"
    PROVIDER_KEY_REFUSED = "provider_key_refused"
    EXECUTION_NOT_ENDED = "execution_not_ended"
    EXECUTION_NOT_FINAL = "execution_not_final"
    NOTHING_TO_RETRY = "nothing_to_retry"
    POSSIBLE_DOUBLE_COST = "possible_double_cost"
    APPROVAL_NOT_OPEN = "approval_not_open"
    APPROVAL_DECIDED = "approval_decided"
    ENDPOINT_EXISTS = "endpoint_exists"
    ENDPOINT_DISABLED = "endpoint_disabled"
    MEDIA_UNSUPPORTED = "media_unsupported"
    MEDIA_DAMAGED = "media_damaged"
    MEDIA_TOO_LARGE = "media_too_large"
    MEDIA_UNAVAILABLE = "media_unavailable"
    ASSET_LIMIT_REACHED = "asset_limit_reached"
    ASSET_IN_USE = "asset_in_use"
    ASSET_DELETED = "asset_deleted"
    MEDIA_LIMIT_REACHED = "media_limit_reached"
    PROVIDER_AUTH_FAILED = "provider_auth_failed"
    PROVIDER_CREDIT_EXHAUSTED = "provider_credit_exhausted"
    PROVIDER_MODEL_UNAVAILABLE = "provider_model_unavailable"
    PROVIDER_NOT_ACCEPTING = "provider_not_accepting"
    SERVICE_BUDGET_EXCEEDED = "service_budget_exceeded"
    PROVIDER_QUEUE_FULL = "provider_queue_full"
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
    MEDIA_FAILED = "media_failed"
    QUEUE_TIMED_OUT = "queue_timed_out"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    APPROVAL_EXPIRED = "approval_expired"
    APPROVAL_REJECTED = "approval_rejected"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    INTERNAL_ERROR = "internal_error"


class Acts(StrEnum):
    """The party that must act before the request can succeed."""

    USER = "user"
    OPERATOR = "operator"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureKind:
    """The fixed properties of a failure code.

    retryable: the same request may succeed later, unchanged.
    sentence: the message for users, without internals.
    """

    retryable: bool
    acts: Acts
    sentence: str


def _kind(retryable: bool, acts: Acts, sentence: str) -> FailureKind:
    return FailureKind(retryable=retryable, acts=acts, sentence=sentence)


FAILURES: Final[dict[FailureCode, FailureKind]] = {
    FailureCode.INVALID_REQUEST: _kind(False, Acts.USER, "The request is not valid."),
    FailureCode.UNAUTHENTICATED: _kind(
        False, Acts.USER, "A valid API key or bearer token is required."
    ),
    FailureCode.INSUFFICIENT_SCOPE: _kind(
        False, Acts.USER, "The credential lacks the scope that this request requires."
    ),
    FailureCode.NOT_FOUND: _kind(False, Acts.USER, "The requested resource does not exist."),
    FailureCode.METHOD_NOT_ALLOWED: _kind(
        False, Acts.USER, "This address does not support the method."
    ),
    FailureCode.UNSUPPORTED_MEDIA_TYPE: _kind(
        False, Acts.USER, "The request body must be application/json."
    ),
    FailureCode.PAYLOAD_TOO_LARGE: _kind(False, Acts.USER, "The request body is too large."),
    FailureCode.TRANSFER_CODING_UNSUPPORTED: _kind(
        False, Acts.USER, "The only supported transfer coding is chunked."
    ),
    FailureCode.MALFORMED_REQUEST: _kind(False, Acts.USER, "The request is not valid HTTP/1.1."),
    FailureCode.REQUEST_TIMED_OUT: _kind(True, Acts.NONE, "The request did not arrive in time."),
    FailureCode.IDEMPOTENCY_CONFLICT: _kind(
        False, Acts.USER, "This Idempotency-Key was already used with a different request body."
    ),
    FailureCode.IDEMPOTENCY_IN_PROGRESS: _kind(
        True,
        Acts.NONE,
        "The first request with this Idempotency-Key is still in progress. Retry shortly.",
    ),
    FailureCode.RATE_LIMITED: _kind(
        True, Acts.NONE, "Too many requests. Retry after the time in the Retry-After header."
    ),
    FailureCode.BUDGET_EXCEEDED: _kind(
        False, Acts.USER, "The remaining budget does not cover the possible cost of this request."
    ),
    FailureCode.KEY_SPEND_LIMIT_EXCEEDED: _kind(
        False,
        Acts.USER,
        "The spend limit of the API key does not cover the possible cost of this request.",
    ),
    FailureCode.MAX_COST_EXCEEDED: _kind(
        False,
        Acts.USER,
        "The request may cost more than its maxCost. Raise maxCost or request less.",
    ),
    FailureCode.OPEN_LIMIT_REACHED: _kind(
        True, Acts.NONE, "Too many open executions for this account. Wait for one to finish."
    ),
    FailureCode.QUEUE_FULL: _kind(
        True,
        Acts.NONE,
        "Too many executions of this account wait for a slot. Retry after the time in the "
        "Retry-After header.",
    ),
    FailureCode.TOO_MANY_STREAMS: _kind(
        True, Acts.NONE, "Too many open event streams. Close one, or use polling."
    ),
    FailureCode.CONTENT_MODERATED: _kind(
        False, Acts.USER, "The provider rejected the content of this request."
    ),
    FailureCode.PROVIDER_REJECTED_INPUT: _kind(
        False, Acts.USER, "The provider rejected the input of this step."
    ),
    FailureCode.PROVIDER_KEY_REFUSED: _kind(
        False, Acts.USER, "The provider rejected your own provider key. Replace the key."
    ),
    FailureCode.EXECUTION_NOT_ENDED: _kind(True, Acts.NONE, "The execution has not ended yet."),
    FailureCode.EXECUTION_NOT_FINAL: _kind(
        True, Acts.NONE, "The execution has ended, but its cost or its webhook is not final."
    ),
    FailureCode.NOTHING_TO_RETRY: _kind(
        False, Acts.USER, "The execution has completed, so there is nothing to retry."
    ),
    FailureCode.POSSIBLE_DOUBLE_COST: _kind(
        True,
        Acts.NONE,
        "A retry may buy a step again whose last purchase has an unknown outcome.",
    ),
    FailureCode.APPROVAL_NOT_OPEN: _kind(
        True, Acts.NONE, "The approval step does not wait for a decision now."
    ),
    FailureCode.APPROVAL_DECIDED: _kind(
        False, Acts.USER, "The approval step has another decision already, which is final."
    ),
    FailureCode.ENDPOINT_EXISTS: _kind(
        False, Acts.USER, "An endpoint with this address already exists."
    ),
    FailureCode.ENDPOINT_DISABLED: _kind(
        False, Acts.USER, "The endpoint is disabled. Enable it first."
    ),
    FailureCode.MEDIA_UNSUPPORTED: _kind(
        False, Acts.USER, "The file has a type or form that is not accepted."
    ),
    FailureCode.MEDIA_DAMAGED: _kind(False, Acts.USER, "The file is cut off or damaged."),
    FailureCode.MEDIA_TOO_LARGE: _kind(False, Acts.USER, "The file is too large."),
    FailureCode.MEDIA_UNAVAILABLE: _kind(
        True, Acts.NONE, "The file could not be fetched from its URL."
    ),
    FailureCode.ASSET_LIMIT_REACHED: _kind(
        False, Acts.USER, "This account has no space for another upload. Delete assets first."
    ),
    FailureCode.ASSET_IN_USE: _kind(True, Acts.NONE, "An execution needs the asset."),
    FailureCode.ASSET_DELETED: _kind(
        False, Acts.USER, "An asset that a step uses has been deleted."
    ),
    FailureCode.MEDIA_LIMIT_REACHED: _kind(
        False,
        Acts.USER,
        "The media steps of this request do not fit into this month's processor time. Use fewer or "
        "shorter media steps, or send the request again next month.",
    ),
    FailureCode.PROVIDER_AUTH_FAILED: _kind(
        False,
        Acts.OPERATOR,
        "The provider rejected this service's key. The operator must replace it.",
    ),
    FailureCode.PROVIDER_CREDIT_EXHAUSTED: _kind(
        False,
        Acts.OPERATOR,
        "This service's account at the provider has no credit. The operator must add credit.",
    ),
    FailureCode.PROVIDER_MODEL_UNAVAILABLE: _kind(
        False, Acts.OPERATOR, "The provider no longer offers this model."
    ),
    FailureCode.PROVIDER_NOT_ACCEPTING: _kind(
        True,
        Acts.OPERATOR,
        "The provider rejects purchases by this service. The operator must act.",
    ),
    FailureCode.SERVICE_BUDGET_EXCEEDED: _kind(
        True, Acts.OPERATOR, "This service has reached its daily spending cap."
    ),
    FailureCode.PROVIDER_QUEUE_FULL: _kind(
        True,
        Acts.NONE,
        "Too many executions wait for this provider. Retry after the time in the Retry-After "
        "header.",
    ),
    FailureCode.PROVIDER_RATE_LIMITED: _kind(
        True, Acts.NONE, "The provider limits the rate of requests."
    ),
    FailureCode.PROVIDER_UNAVAILABLE: _kind(True, Acts.NONE, "The provider is unavailable."),
    FailureCode.STORAGE_UNAVAILABLE: _kind(True, Acts.NONE, "The object storage is unavailable."),
    FailureCode.SERVICE_UNAVAILABLE: _kind(
        True, Acts.NONE, "This service is temporarily unavailable."
    ),
    FailureCode.PROVIDER_FAILED: _kind(
        True, Acts.NONE, "The provider failed to complete this step."
    ),
    FailureCode.PROVIDER_TIMED_OUT: _kind(
        True, Acts.NONE, "The provider did not complete this step in time."
    ),
    FailureCode.PROVIDER_EMPTY_OUTPUT: _kind(
        True, Acts.NONE, "The provider completed this step without producing a file."
    ),
    FailureCode.PROVIDER_BAD_RESPONSE: _kind(
        True, Acts.NONE, "The provider's response could not be interpreted."
    ),
    FailureCode.SUBMISSION_UNKNOWN: _kind(
        False, Acts.OPERATOR, "It is unknown whether the provider accepted this step."
    ),
    FailureCode.OUTPUT_EXPIRED: _kind(
        False, Acts.USER, "The provider deleted the file before it could be stored."
    ),
    FailureCode.OUTPUT_INVALID: _kind(False, Acts.USER, "The provider's file is not usable."),
    FailureCode.OUTPUT_TOO_LARGE: _kind(False, Acts.USER, "The provider's file is too large."),
    FailureCode.OUTPUT_ADDRESS_REFUSED: _kind(
        False,
        Acts.OPERATOR,
        "The provider's file is at an address that this service may not call.",
    ),
    FailureCode.MEDIA_FAILED: _kind(
        False, Acts.USER, "A media step could not make its file from these inputs."
    ),
    FailureCode.QUEUE_TIMED_OUT: _kind(
        True, Acts.NONE, "The request waited too long for a free slot. Retry it."
    ),
    FailureCode.DEADLINE_EXCEEDED: _kind(
        True, Acts.NONE, "The request did not complete before its deadline."
    ),
    FailureCode.APPROVAL_EXPIRED: _kind(
        True, Acts.USER, "No decision arrived in time. A retry asks again and keeps what is paid."
    ),
    FailureCode.APPROVAL_REJECTED: _kind(
        True, Acts.USER, "The options were rejected. A retry asks again and keeps what is paid."
    ),
    FailureCode.CANCELLED: _kind(True, Acts.USER, "The request was cancelled."),
    FailureCode.TERMINATED: _kind(True, Acts.OPERATOR, "An operator terminated the request."),
    FailureCode.INTERNAL_ERROR: _kind(
        True, Acts.OPERATOR, "An internal error occurred in this service."
    ),
}

STOPS_A_PROVIDER: Final = frozenset(
    {FailureCode.PROVIDER_AUTH_FAILED, FailureCode.PROVIDER_CREDIT_EXHAUSTED}
)
"""Refusals of this service and not of one request: the next create call would fail too."""
TRIPS_A_BREAKER: Final = STOPS_A_PROVIDER | {FailureCode.PROVIDER_KEY_REFUSED}
"""The same, plus the refusal of a user's own key, whose breaker affects that user only."""

MESSAGE_MAX_CHARS = 500
"""Limit of external text in histories, rows and responses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure that happened.

    message: a sentence for users, without keys, internal addresses or stack traces.
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
