"""Replicate's response bodies: the prediction object, problem details and callbacks."""

import json
import time
from typing import Any

from starlette.responses import Response

from sandbox.http.exchange import json_response
from sandbox.jobs.bill import timestamp
from sandbox.jobs.charges import model_of
from sandbox.jobs.runner import MODERATION_TYPE
from sandbox.jobs.store import Job, State
from sandbox.models.fields import Violation
from sandbox.settings import Json

STATUSES: dict[State, str] = {
    "queued": "starting",
    "running": "processing",
    "succeeded": "succeeded",
    "failed": "failed",
    "canceled": "canceled",
    "aborted": "aborted",
}
FLAGGED = (
    "The input or output was flagged as sensitive. Please try again with different inputs. (E005)"
)
TITLES = {
    400: ("Bad request", "The request could not be understood"),
    401: ("Unauthenticated", "You did not pass a valid authentication token"),
    402: (
        "Insufficient credit",
        "You have insufficient credit to run this model. Go to https://replicate.com/account/billing to buy credit.",
    ),
    403: ("Permission denied", "You do not have permission to perform this action."),
    404: ("Not found", "The requested resource could not be found."),
    413: ("Request entity too large", "The request body is too large"),
    415: ("Unsupported media type", "The request body must be application/json"),
    422: ("Input validation failed", "- input: prompt is required\n"),
    500: ("Internal server error", "Something went wrong"),
    503: ("Service unavailable", "The service is temporarily unavailable"),
}


def prediction(job: Job, base_url: str, data_life_seconds: float, *, early: bool = False) -> Json:
    """Return the prediction object of a response or callback.

    early: show the state at creation, even if the job has progressed since.
    """
    start = f"{base_url}/replicate/v1/predictions/{job.id}"
    state: State = "queued" if early else job.state
    body: Json = {
        "id": job.id,
        "model": job.model,
        "version": "hidden",
        "input": job.input,
        "logs": "",
        "output": None,
        "data_removed": False,
        "error": None,
        "source": "api",
        "status": STATUSES[state],
        "created_at": timestamp(job.created_at),
        "started_at": None,
        "completed_at": None,
        "deadline": None if job.end_deadline_at is None else timestamp(job.end_deadline_at),
        "metrics": {},
        "urls": {
            "get": start,
            "cancel": f"{start}/cancel",
            "web": f"https://replicate.com/p/{job.id}",
        },
    }
    if job.callback_url is not None:
        body |= {"webhook": job.callback_url, "webhook_events_filter": job.callback_events}
    if state != "queued" and job.started_at is not None:
        body["started_at"] = timestamp(job.started_at)
        body["logs"] = f"Using seed: {job.seed}\n"
    return body | _ending(job, base_url, data_life_seconds) if job.ended and not early else body


def _ending(job: Job, base_url: str, data_life_seconds: float) -> Json:
    ended_at = job.ended_at or time.time()
    metrics: Json = {"total_time": round(ended_at - job.created_at, 6)}
    if job.started_at is not None:
        metrics["predict_time"] = round(ended_at - job.started_at, 6)
    body: Json = {"completed_at": timestamp(ended_at), "metrics": metrics, "error": _error(job)}
    if job.state == "succeeded":
        metrics |= _billing_metrics(job)
        body["output"] = _output(job, base_url)
    if time.time() > ended_at + data_life_seconds:
        body |= {"input": {}, "output": None, "logs": "", "data_removed": True}
    return body


def _billing_metrics(job: Job) -> Json:
    """Return the billed quantities under the vendor's names."""
    model = model_of(job)
    if model.makes == "image":
        return {"image_output_count": job.billable_units}
    seconds = job.outputs[0]["seconds"] if job.outputs else 0
    if model.makes == "audio":
        characters = len(model.order(job.input).prompt)
        return {"character_input_count": characters, "audio_output_duration_seconds": seconds}
    return {
        "video_output_count": 1,
        "video_output_duration_seconds": float(
            (job.billable_units or 0) if model.unit == "seconds" else seconds
        ),
        "resolution_target": model.order(job.input).resolution,
    }


def _output(job: Job, base_url: str) -> Any:
    addresses = [f"{base_url}/files/{item['name']}" for item in job.outputs]
    if model_of(job).output == "images":
        return addresses
    return addresses[0] if addresses else None


def _error(job: Job) -> str | None:
    if job.error is None:
        return None
    if job.error["type"] == MODERATION_TYPE:
        return FLAGGED
    url = job.error.get("url")
    return f"{job.error['message']}: {url}" if url else str(job.error["message"])


def problem(
    status: int, detail: str | None = None, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    title, usual = TITLES.get(status, ("Error", "Error"))
    body = {"title": title, "detail": detail or usual, "status": status} | more
    return json_response(body, status, headers, "application/problem+json")


def throttled(params: Json) -> Response:
    headers = {"Retry-After": str(params["retry_after"])} if "retry_after" in params else None
    detail = params.get("message", "Request was throttled. Your rate limit resets in ~30s.")
    return json_response(
        {"title": "Too Many Requests", "detail": detail, "status": 429}, 429, headers
    )


def refusal(status: int, params: Json) -> Response:
    """Return a requested error in Replicate's format."""
    if status == 429:
        return throttled(params)
    if status == 422:
        return invalid_fields([("required", "input", "prompt is required")])
    return problem(status, params.get("message"))


def invalid(broken: list[Violation]) -> Response:
    return invalid_fields([_violation(item) for item in broken])


def invalid_fields(fields: list[tuple[str, str, str]]) -> Response:
    detail = "".join(f"- {name}: {description}\n" for _, name, description in fields)
    listed = [{"type": kind, "field": name, "description": text} for kind, name, text in fields]
    return problem(422, detail, invalid_fields=listed)


def _violation(item: Violation) -> tuple[str, str, str]:
    spec, name = item.spec, f"input.{item.field}"
    if item.rule == "required":
        return "required", "input", f"{item.field} is required"
    if item.rule == "choice":
        choices = ", ".join(json.dumps(choice) for choice in spec.choices)
        return "enum", name, f"{item.field} must be one of the following: {choices}"
    if item.rule == "minimum":
        return "number_gte", name, f"Must be greater than or equal to {spec.minimum:g}"
    if item.rule == "maximum":
        return "number_lte", name, f"Must be less than or equal to {spec.maximum:g}"
    if item.rule == "length":
        return "string_lte", name, f"String length must be less than or equal to {spec.max_length}"
    if item.rule == "items":
        return "array_gte", name, "Array must have at least 1 items"
    return (
        "invalid_type",
        name,
        f"Invalid type. Expected: {spec.kind}, given: {_json_type(item.value)}",
    )


def _json_type(value: Any) -> str:
    names = {
        "bool": "boolean",
        "int": "integer",
        "float": "number",
        "str": "string",
        "list": "array",
        "dict": "object",
    }
    return names.get(type(value).__name__, "null")
