"""ElevenLabs' response bodies: errors, history items, models, voices and the subscription."""

import asyncio
import secrets
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.elevenlabs.catalogue import MODELS, RequestError
from sandbox.elevenlabs.speech import alignment
from sandbox.http.exchange import json_response
from sandbox.jobs.store import Job
from sandbox.settings import Json, Settings

CODES = {
    400: ("validation_error", "invalid_parameters", "The request is invalid."),
    401: ("authentication_error", "invalid_api_key", "Invalid API key"),
    402: ("payment_error", "insufficient_credits", "You have no credits left."),
    403: ("authorization_error", "voice_access_denied", "You have no access to this voice."),
    404: ("not_found", "voice_not_found", "The voice was not found."),
    413: ("validation_error", "request_too_large", "The request is too large."),
    415: ("validation_error", "unsupported_media_type", "The body must be JSON."),
    429: ("rate_limit_error", "rate_limit_exceeded", "Too many requests. Slow down."),
    500: ("internal_error", "internal_error", "An unexpected error occurred."),
    503: ("internal_error", "service_unavailable", "The service is unavailable."),
}
CONCURRENT = "concurrent_limit_exceeded"
STREAM_PIECES = 4


class ChunkedAudio(Response):
    """Audio without a length in its head, sent in pieces over some seconds, as by `/stream`."""

    def __init__(self, content: bytes, headers: dict[str, str], seconds: float) -> None:
        super().__init__(content, headers=headers, media_type="audio/mpeg")
        del self.headers["content-length"]
        self._pause = seconds / STREAM_PIECES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        content = bytes(self.body)
        size = len(content) // STREAM_PIECES + 1
        for start in range(0, len(content), size):
            piece = content[start : start + size]
            await asyncio.sleep(self._pause)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def refusal(status: int, params: Json) -> Response:
    """Return a requested error in ElevenLabs' format.

    params: `code` and `message`; `form: "old"` for the answers that have only a status; for a 422
    in list form nothing.
    """
    if status == 422:
        missing = {"type": "missing", "loc": ["body", "text"], "msg": "Field required"}
        return json_response({"detail": [missing]}, 422)
    kind, code, message = CODES.get(status, CODES[500])
    code, message = params.get("code", code), params.get("message", message)
    if params.get("form") == "old":
        return json_response({"detail": {"status": code, "message": message}}, status)
    headers = {"Retry-After": str(params["retry_after"])} if "retry_after" in params else None
    detail = {
        "type": kind, "code": code, "message": message, "status": code,
        "request_id": new_request_id(), "param": None,
    }  # fmt: skip
    return json_response({"detail": detail}, status, headers)


def rejected(error: RequestError) -> Response:
    if error.fields:
        return json_response({"detail": list(error.fields)}, error.status)
    return refusal(error.status, {"code": error.code, "message": error.message})


def new_request_id() -> str:
    return secrets.token_urlsafe(15).replace("-", "x").replace("_", "y")


def history_item(job: Job, before: int) -> Json:
    """Return a job's history item. before: the account's credits that were used before it."""
    times = alignment(job.input["text"], float(job.input["voice_settings"]["speed"]))
    return {
        "history_item_id": job.input["history_item_id"],
        "request_id": job.id,
        "voice_id": job.input["voice_id"],
        "model_id": job.model,
        "voice_name": "Sandbox",
        "voice_category": "premade",
        "text": job.input["text"],
        "date_unix": int(job.created_at),
        "character_count_change_from": before,
        "character_count_change_to": before + int(job.billable_units or 0),
        "content_type": "audio/mpeg",
        "state": "created",
        "settings": job.input["voice_settings"],
        "feedback": None,
        "share_link_id": None,
        "source": "TTS",
        "alignments": {"alignment": times, "normalized_alignment": times},
        "dialogue": None,
        "output_format": job.input["output_format"],
    }


def models(settings: Settings) -> list[Json]:
    return [
        {
            "model_id": model.name,
            "name": model.name,
            "can_do_text_to_speech": True,
            "maximum_text_length_per_request": model.max_characters,
            "languages": [{"language_id": "en", "name": "English"}],
            "model_rates": {
                "character_cost_multiplier": float(model.multiplier),
                "cost_discount_multiplier": settings.elevenlabs_discount,
            },
            "concurrency_group": model.group,
        }
        for model in MODELS.values()
    ]


def subscription(used: int) -> Json:
    return {
        "tier": "creator", "character_count": used, "character_limit": 10_000_000,
        "max_credit_limit_extension": 0, "can_extend_character_limit": False,
        "allowed_to_extend_character_limit": False, "next_character_count_reset_unix": None,
        "voice_slots_used": 0, "professional_voice_slots_used": 0,
        "professional_voice_slots_used_in_workspace": 0, "voice_limit": 30,
        "voice_add_edit_counter": 0, "professional_voice_limit": 1,
        "can_extend_voice_limit": False, "can_use_instant_voice_cloning": True,
        "can_use_professional_voice_cloning": True, "currency": "usd",
        "current_overage": {"amount": "0", "currency": "usd"}, "status": "active",
        "open_invoices": [], "has_open_invoices": False,
    }  # fmt: skip


def credits_of(jobs: Sequence[Job]) -> int:
    return sum(int(job.billable_units or 0) for job in jobs)
