"""The texts of problem documents: a title for every failure code, and details of some errors.

A problem without a detail of its own takes the sentence of its failure code
(`core.domain.failures`). Details of refused orders are in `api.http.problems.ordering`, next to the
numbers that they show.
"""

from typing import Final

from core.domain.failures import FailureCode

TITLES: Final[dict[FailureCode, str]] = {
    FailureCode.INVALID_REQUEST: "Invalid request",
    FailureCode.UNAUTHENTICATED: "Authentication required",
    FailureCode.INSUFFICIENT_SCOPE: "Insufficient scope",
    FailureCode.NOT_FOUND: "Not found",
    FailureCode.METHOD_NOT_ALLOWED: "Method not allowed",
    FailureCode.UNSUPPORTED_MEDIA_TYPE: "Unsupported media type",
    FailureCode.PAYLOAD_TOO_LARGE: "Body too large",
    FailureCode.TRANSFER_CODING_UNSUPPORTED: "Transfer coding not supported",
    FailureCode.MALFORMED_REQUEST: "Malformed request",
    FailureCode.REQUEST_TIMED_OUT: "Request timed out",
    FailureCode.IDEMPOTENCY_CONFLICT: "Idempotency key conflict",
    FailureCode.IDEMPOTENCY_IN_PROGRESS: "Idempotent request in progress",
    FailureCode.RATE_LIMITED: "Rate limit exceeded",
    FailureCode.BUDGET_EXCEEDED: "Budget exceeded",
    FailureCode.KEY_SPEND_LIMIT_EXCEEDED: "Key spend limit exceeded",
    FailureCode.MAX_COST_EXCEEDED: "Maximum cost exceeded",
    FailureCode.OPEN_LIMIT_REACHED: "Too many open executions",
    FailureCode.QUEUE_FULL: "Queue full",
    FailureCode.TOO_MANY_STREAMS: "Too many streams",
    FailureCode.CONTENT_MODERATED: "Content refused by the provider",
    FailureCode.PROVIDER_REJECTED_INPUT: "Input refused by the provider",
    FailureCode.PROVIDER_KEY_REFUSED: "Own provider key refused",
    FailureCode.EXECUTION_NOT_ENDED: "Execution not ended",
    FailureCode.EXECUTION_NOT_FINAL: "Execution not final",
    FailureCode.NOTHING_TO_RETRY: "Nothing to retry",
    FailureCode.POSSIBLE_DOUBLE_COST: "Possible double cost",
    FailureCode.APPROVAL_NOT_OPEN: "Approval not open",
    FailureCode.APPROVAL_DECIDED: "Approval decided",
    FailureCode.ENDPOINT_EXISTS: "Endpoint already exists",
    FailureCode.ENDPOINT_DISABLED: "Endpoint disabled",
    FailureCode.MEDIA_UNSUPPORTED: "Media not supported",
    FailureCode.MEDIA_DAMAGED: "Media damaged",
    FailureCode.MEDIA_TOO_LARGE: "Media too large",
    FailureCode.MEDIA_UNAVAILABLE: "Media unavailable",
    FailureCode.ASSET_LIMIT_REACHED: "Asset limit reached",
    FailureCode.MEDIA_LIMIT_REACHED: "Media limit reached",
    FailureCode.ASSET_IN_USE: "Asset in use",
    FailureCode.ASSET_DELETED: "Asset deleted",
    FailureCode.PROVIDER_AUTH_FAILED: "Provider authentication failed",
    FailureCode.PROVIDER_CREDIT_EXHAUSTED: "Provider credit exhausted",
    FailureCode.PROVIDER_MODEL_UNAVAILABLE: "Model no longer offered",
    FailureCode.PROVIDER_NOT_ACCEPTING: "Provider not accepting",
    FailureCode.SERVICE_BUDGET_EXCEEDED: "Daily service budget exceeded",
    FailureCode.PROVIDER_QUEUE_FULL: "Provider queue full",
    FailureCode.PROVIDER_RATE_LIMITED: "Provider rate limit reached",
    FailureCode.PROVIDER_UNAVAILABLE: "Provider unavailable",
    FailureCode.STORAGE_UNAVAILABLE: "Storage unavailable",
    FailureCode.SERVICE_UNAVAILABLE: "Service unavailable",
    FailureCode.PROVIDER_FAILED: "Provider failed",
    FailureCode.PROVIDER_TIMED_OUT: "Provider timed out",
    FailureCode.PROVIDER_EMPTY_OUTPUT: "Empty provider output",
    FailureCode.PROVIDER_BAD_RESPONSE: "Unusable provider response",
    FailureCode.SUBMISSION_UNKNOWN: "Submission outcome unknown",
    FailureCode.OUTPUT_EXPIRED: "Output expired",
    FailureCode.OUTPUT_INVALID: "Output invalid",
    FailureCode.OUTPUT_TOO_LARGE: "Output too large",
    FailureCode.OUTPUT_ADDRESS_REFUSED: "Output address refused",
    FailureCode.MEDIA_FAILED: "Media step failed",
    FailureCode.QUEUE_TIMED_OUT: "Queue limit exceeded",
    FailureCode.DEADLINE_EXCEEDED: "Deadline exceeded",
    FailureCode.APPROVAL_EXPIRED: "Approval expired",
    FailureCode.APPROVAL_REJECTED: "Options rejected",
    FailureCode.CANCELLED: "Execution cancelled",
    FailureCode.TERMINATED: "Execution terminated",
    FailureCode.INTERNAL_ERROR: "Internal error",
}
"""Total over the failure codes: short noun phrases."""

# Authentication
CREDENTIAL_NEEDED: Final = (
    "Send a valid API key in the header Authorization: Bearer tko_…, or a token of this service's "
    "identity provider."
)
ISSUER_UNREACHABLE: Final = (
    "The token cannot be verified because the keys of its issuer cannot be read. Send the request "
    "again later."
)
SCOPES_MISSING: Final = "The credential lacks: {scopes}. Use a key or token that has it."
TICKET_REFUSED: Final = (
    "The ticket is unknown, used or expired. Request another one and open the stream with it."
)
CONSOLE_TICKET_REFUSED: Final = (
    "The link is unknown, used or expired. Log in with an API key, or request another link."
)
BROWSER_NEEDED: Final = (
    "Log in from a page of this service, at an https address or on this machine: browsers mark "
    "requests of the same origin only there."
)
TOO_MANY_STREAMS: Final = (
    "Too many open event streams of {subject} (limit {limit}). Close one, or use polling."
)
RATE_EXCEEDED: Final = (
    "Too many {requests} with {subject} (limit {quota} in {window_seconds} seconds). Send the next "
    "one in {next_seconds} s."
)

# Bodies
BODY_TOO_LARGE: Final = "The body must not exceed {limit_bytes} bytes."
BODY_TOO_SLOW: Final = "The body did not arrive within {seconds:g} seconds. Send the request again."
BODY_INCOMPLETE: Final = "The connection closed before the body was complete."
BODY_COMPRESSED: Final = (
    "Compressed bodies are not supported. Send the body without Content-Encoding."
)
BODY_NOT_MULTIPART: Final = (
    "The body is not valid multipart/form-data with one part that has the name file."
)
ASSET_BODY_TYPES: Final = "The request body must be multipart/form-data or application/json."
UPLOADS_BUSY: Final = "Too many uploads at once. Send the request again in {seconds} s."
BODY_NOT_UTF8: Final = "JSON must be encoded as UTF-8 (RFC 8259)."
FIELDS_INVALID: Final = "Invalid fields: {fields}. The member errors describes each of them."

HOST_INVALID: Final = "The request needs exactly one Host header with a host and an optional port."

# Service state
DATABASE_UNREACHABLE: Final = "PostgreSQL cannot be reached."
MIGRATIONS_MISSING: Final = "Migrations have not run: {missing}. Run python -m core.store.migrate."
RECOVERY_RUNNING: Final = (
    "The database is being recovered. Nothing was accepted; send the request again later."
)

# Webhooks and callbacks
ENDPOINT_FOR_URL_EXISTS: Final = "The URL belongs to the endpoint {endpoint_id}. Use that endpoint."
ENDPOINT_IS_DISABLED: Final = "The endpoint is disabled. Enable it, then send the request again."
ENDPOINT_WAS_DELETED: Final = (
    "The endpoint was deleted. Create an endpoint with the same URL, then send the request again."
)
NO_SUCH_ATTEMPT: Final = (
    "No such attempt waits for a result: it has one, or its 15 seconds are over."
)
CALLBACK_SIGNATURE_INVALID: Final = "The signature is missing, wrong or too old."
CALLBACK_UNVERIFIABLE: Final = "The signature cannot be verified now. Send the callback again."

# Templates
TOO_MANY_TEMPLATES: Final = (
    "cannot be used: this account has {limit} templates, the most allowed. Delete a template first"
)

# Keys
LIMIT_OF_ADMIN_KEY: Final = (
    "is not allowed for a key with the scope admin, which could create a key without a limit. Use "
    "a key with the scopes read and generate"
)
CALLER_HAS_NO_KEY: Final = (
    "This request has a token, not an API key. Only API keys have spend limits."
)
TOO_MANY_KEYS: Final = "cannot be used: this account has {limit} valid keys. Revoke a key first"
