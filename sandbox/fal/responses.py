"""The response bodies and headers of fal's queue API, history and callbacks."""

from typing import Any

from starlette.responses import Response

from sandbox.fal.outputs import output
from sandbox.http.exchange import json_response
from sandbox.jobs.bill import timestamp
from sandbox.jobs.charges import model_of
from sandbox.jobs.runner import MODERATION_TYPE
from sandbox.jobs.store import Job
from sandbox.models.fields import Field, Violation, violations
from sandbox.settings import Json

RETRYABLE = frozenset(
    {
        "internal_server_error",
        "generation_timeout",
        "downstream_service_error",
        "downstream_service_unavailable",
    }
)
INFRASTRUCTURE = frozenset(
    {
        "request_timeout", "startup_timeout", "runner_scheduling_failure", "runner_connection_timeout",
        "runner_disconnected", "runner_connection_refused", "runner_connection_error", "runner_incomplete_response",
        "runner_server_error", "internal_error", "client_disconnected", "client_cancelled", "bad_request",
    }
)  # fmt: skip
REFUSALS = {
    400: "Bad request",
    401: "Cannot access application. Authentication is required to access this application.",
    402: "Payment required",
    403: "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing.",
    404: "Application not found",
    413: "Request entity too large",
    415: "Unsupported media type",
}


def app_of(endpoint_id: str) -> str:
    """Return owner and app of an endpoint; status, result and cancel URLs have no more."""
    return "/".join(endpoint_id.split("/")[:2])


def addresses(job: Job, base_url: str) -> Json:
    start = f"{base_url}/fal/queue/{app_of(job.model)}/requests/{job.id}"
    return {"response_url": start, "status_url": f"{start}/status", "cancel_url": f"{start}/cancel"}


def submitted(job: Job, base_url: str, queue_position: int) -> Json:
    return {
        "request_id": job.id,
        "gateway_request_id": job.id,
        "status": "IN_QUEUE",
        "queue_position": queue_position,
    } | addresses(job, base_url)


def status(job: Job, base_url: str, queue_position: int, *, with_logs: bool) -> Response:
    """Return 202 until the job has ended.

    A failed or cancelled job is COMPLETED with an error; fal has no other status for it.
    """
    word = {"queued": "IN_QUEUE", "running": "IN_PROGRESS"}.get(job.state, "COMPLETED")
    body: Json = {"status": word, "request_id": job.id} | addresses(job, base_url)
    if word == "IN_QUEUE":
        return json_response(body | {"queue_position": queue_position}, 202)
    body["logs"] = _logs(job) if with_logs else None
    if word == "IN_PROGRESS":
        return json_response(body, 202)
    ran = (job.ended_at or 0) - (job.started_at or job.ended_at or 0)
    body["metrics"] = {"inference_time": round(ran, 3)}
    if job.state != "succeeded":
        error = failure(job)
        body |= {"error": error_text(error), "error_type": error["type"]}
    return json_response(body)


def _logs(job: Job) -> list[Json]:
    at = job.started_at or job.created_at
    words = [(at, f"Loaded {job.model}")]
    if job.state == "succeeded" and job.ended_at is not None:
        words.append((job.ended_at, "Done"))
    return [
        {"message": text, "level": "INFO", "source": "USER", "timestamp": timestamp(when)}
        for when, text in words
    ]


def failure(job: Job) -> Json:
    if job.error is not None:
        return job.error
    return {
        "status": 499,
        "type": "client_cancelled",
        "message": "Request was cancelled by the client",
    }


def error_text(error: Json) -> str:
    return (
        error["message"]
        if error["type"] in INFRASTRUCTURE
        else f"Invalid status code: {error['status']}"
    )


def result(job: Job, base_url: str) -> Response:
    """Return the model's output, or its status code and error."""
    headers = {"x-fal-request-id": job.id}
    if not job.ended:
        return infrastructure(400, "bad_request", "Request is still in progress", headers)
    if job.billable_units is not None:
        headers["x-fal-billable-units"] = str(job.billable_units)
    if job.state == "succeeded":
        return json_response(output(job, base_url), 200, headers)
    error = failure(job)
    if error["type"] in INFRASTRUCTURE:
        return infrastructure(error["status"], error["type"], error["message"], headers)
    headers["X-Fal-Retryable"] = "true" if error["type"] in RETRYABLE else "false"
    return json_response({"detail": details(job, error)}, error["status"], headers)


def infrastructure(
    code: int, kind: str, message: str, headers: dict[str, str] | None = None
) -> Response:
    return json_response(
        {"detail": message, "error_type": kind}, code, {"X-Fal-Error-Type": kind} | (headers or {})
    )


def details(job: Job, error: Json) -> list[Json]:
    if error["type"] == "invalid":
        return invalid(violations(model_of(job).fields, job.input), job.input)
    if error["type"] == MODERATION_TYPE:
        message = "The content could not be processed because it contained material flagged by a content checker."
        return [
            {"loc": ["body", "prompt"], "msg": message, "type": MODERATION_TYPE, "input": job.input}
        ]
    where = ["body", *str(error["field"]).split(".")] if error.get("field") else ["body"]
    detail: Json = {
        "loc": where,
        "msg": error["message"],
        "type": error["type"],
        "input": error.get("url"),
    }
    return [detail | ({"url": error["url"]} if error.get("url") else {})]


def invalid(broken: list[Violation], body: Json) -> list[Json]:
    """Return the violations in the format of Pydantic."""
    return [{"loc": ["body", *item.field.split(".")]} | _violation(item, body) for item in broken]


def _violation(item: Violation, body: Json) -> Json:
    spec = item.spec
    if item.rule == "required":
        return {"type": "missing", "msg": "Field required", "input": body}
    if item.rule == "choice":
        choices = [repr(choice) for choice in spec.choices]
        expected = " or ".join(part for part in (", ".join(choices[:-1]), choices[-1]) if part)
        return {
            "type": "literal_error",
            "msg": f"Input should be {expected}",
            "input": item.value,
            "ctx": {"expected": expected},
        }
    if item.rule == "minimum":
        return {"type": "greater_than_equal", "msg": f"Input should be greater than or equal to {spec.minimum:g}",
                "input": item.value, "ctx": {"ge": spec.minimum}}  # fmt: skip
    if item.rule == "maximum":
        return {"type": "less_than_equal", "msg": f"Input should be less than or equal to {spec.maximum:g}",
                "input": item.value, "ctx": {"le": spec.maximum}}  # fmt: skip
    if item.rule == "length":
        return {"type": "string_too_long", "msg": f"String should have at most {spec.max_length} characters",
                "input": item.value, "ctx": {"max_length": spec.max_length}}  # fmt: skip
    if item.rule == "items":
        return {"type": "too_short", "msg": "List should have at least 1 item after validation, not 0",
                "input": item.value, "ctx": {"min_length": 1}}  # fmt: skip
    kind, word = _type_words(spec)
    return {"type": kind, "msg": f"Input should be a valid {word}", "input": item.value}


def _type_words(spec: Field) -> tuple[str, str]:
    return {
        "string": ("string_type", "string"),
        "integer": ("int_type", "integer"),
        "number": ("float_type", "number"),
        "boolean": ("bool_type", "boolean"),
        "size": ("model_type", "dictionary with width and height"),
        "object": ("model_type", "dictionary"),
        "list": ("list_type", "list"),
    }[spec.kind]


def callback(job: Job) -> Json:
    body: Json = {"request_id": job.id, "gateway_request_id": job.id}
    if job.state == "succeeded":
        return body | {"status": "OK", "payload": output(job, job.base_url)}
    error = failure(job)
    infra = error["type"] in INFRASTRUCTURE
    payload: Any = {"detail": error["message"]} if infra else {"detail": details(job, error)}
    return body | {"status": "ERROR", "error": error_text(error), "payload": payload}


def history_item(job: Job, *, payloads: bool) -> Json:
    ended, started = job.ended_at, job.started_at
    item: Json = {
        "request_id": job.id,
        "endpoint_id": job.model,
        "sent_at": timestamp(job.created_at),
        "started_at": None if started is None else timestamp(started),
        "ended_at": None if ended is None else timestamp(ended),
        "status_code": None
        if ended is None
        else 200
        if job.state == "succeeded"
        else failure(job)["status"],
        "duration": None if ended is None or started is None else round(ended - started, 3),
    }
    if payloads:
        item["json_input"] = job.input if job.stores_io else None
        item["json_output"] = (
            output(job, job.base_url) if job.state == "succeeded" and job.stores_io else None
        )
    return item


def refusal(status: int, params: Json) -> Response:
    """Return a requested error in fal's format."""
    headers: dict[str, str] = {}
    if "retry_after" in params:
        headers["Retry-After"] = str(params["retry_after"])
    if status == 429:
        headers["X-Fal-Needs-Retry"] = "1"
        return json_response(
            {
                "detail": "Concurrent requests limit exceeded",
                "error_type": "concurrent_requests_limit",
            },
            429,
            headers,
        )
    if status == 422:
        detail: Json = {
            "loc": ["body", "prompt"],
            "msg": "Field required",
            "type": "missing",
            "input": {},
        }
        return json_response({"detail": [detail]}, 422, headers | {"X-Fal-Retryable": "false"})
    if status >= 500:
        kind = {
            502: "runner_incomplete_response",
            503: "runner_scheduling_failure",
            504: "request_timeout",
        }
        return infrastructure(
            status, kind.get(status, "internal_error"), "Internal server error", headers
        )
    return json_response(
        {"detail": params.get("message", REFUSALS.get(status, "Bad request"))}, status, headers
    )
