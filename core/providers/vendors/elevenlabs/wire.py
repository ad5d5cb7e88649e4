"""ElevenLabs' wire format: refusals, answers with audio, history items and word times."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from core.domain.failures import FailureCode
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobReport, Output
from core.domain.states import JobState
from core.providers.http.create_outcome import Refusal
from core.providers.http.responses import (
    Response,
    as_job_id,
    as_list,
    as_object,
    as_text,
    parsed_json,
    scrubbed,
    unavailable,
)
from core.providers.lists.matching import Candidate, Inputs
from core.providers.port import Delivered, ProviderUnavailableError
from core.providers.transcripts import characters_transcript, inline_url

CONCURRENT_PAUSE_SECONDS: Final = 2.0
"""Before a send that the account's running calls prevented: about one short call."""
_CONCURRENT: Final = frozenset({"concurrent_limit_exceeded", "too_many_concurrent_requests"})
_CODES: Final[Mapping[str, FailureCode]] = {
    "quota_exceeded": FailureCode.PROVIDER_CREDIT_EXHAUSTED,
    "insufficient_credits": FailureCode.PROVIDER_CREDIT_EXHAUSTED,
    "voice_access_denied": FailureCode.PROVIDER_REJECTED_INPUT,
    "voice_not_found": FailureCode.PROVIDER_REJECTED_INPUT,
    "invalid_voice_id": FailureCode.PROVIDER_REJECTED_INPUT,
    "subscription_required": FailureCode.PROVIDER_REJECTED_INPUT,
    "unsupported_model": FailureCode.PROVIDER_MODEL_UNAVAILABLE,
    "model_not_found": FailureCode.PROVIDER_MODEL_UNAVAILABLE,
    "content_policy_violation": FailureCode.CONTENT_MODERATED,
}
"""Codes that are more precise than the status of their response."""
_NO_VOICE: Final = frozenset(
    {
        "voice_not_found",
        "voice_does_not_exist",
        "voice_access_denied",
        "invalid_uid",
        "invalid_voice_id",
    }
)


def read_refusal(response: Response) -> Refusal | None:
    """Return the refusal of a create call, or None if the body is not in the vendor's format.

    The format is a `detail` alone: an object with a code, in older answers only with a status, or
    a list of errors.
    """
    body = response.object()
    if set(body) != {"detail"}:
        return None
    detail = body["detail"]
    if errors := as_list(detail):
        message = as_text(as_object(errors[0]).get("msg"))
        return Refusal(detail=scrubbed(message)) if message else None
    error = as_object(detail)
    code = _code(error)
    if not code:
        return None
    failure = _CODES.get(code)
    is_input = failure is FailureCode.PROVIDER_REJECTED_INPUT or response.status_code in (400, 422)
    return Refusal(
        code=failure,
        detail=scrubbed(as_text(error.get("message"))) if is_input else "",
        retry_after_seconds=CONCURRENT_PAUSE_SECONDS if code in _CONCURRENT else 0.0,
    )


def _code(error: Mapping[str, object]) -> str:
    return as_text(error.get("code")) or as_text(error.get("status"))


def read_voice(response: Response) -> bool:
    """Return whether an account has the voice that was read.

    Raises ProviderUnavailableError if the response shows neither.
    """
    body = response.object()
    if response.status_code == 200 and as_text(body.get("voice_id")):
        return True
    if 400 <= response.status_code < 500 and _code(as_object(body.get("detail"))) in _NO_VOICE:
        return False
    raise unavailable(response)


def read_answer(body: bytes, credits_text: str | None, language: str, *, timed: bool) -> Delivered:
    """Return the job that a create call's body finishes. timed: it is JSON with word times.

    Raises ProviderUnavailableError if the body is not usable.
    """
    if not timed:
        return _delivered(body, None, credits_text)
    answer = as_object(parsed_json(body))
    try:
        audio = base64.b64decode(as_text(answer.get("audio_base64")), validate=True)
    except binascii.Error:
        audio = b""
    if not audio:
        raise ProviderUnavailableError("an answer without audio")
    return _delivered(
        audio, characters_transcript([answer.get("alignment")], language), credits_text
    )


def _delivered(audio: bytes, times: bytes | None, credits_text: str | None) -> Delivered:
    files = [(audio, MediaKind.AUDIO)]
    if times is not None:
        files.append((times, MediaKind.TRANSCRIPT))
    report = JobReport(
        state=JobState.COMPLETED,
        outputs=tuple(Output(url="", kind=kind, needs_key=True) for _, kind in files),
        billed_units=credits_text,
        charged=True,
    )
    return Delivered(report=report, files=tuple(content for content, _ in files))


def listed_report(item: Mapping[str, object], audio_url: str) -> JobReport:
    """Return the report of a history item, which is complete by then."""
    outputs = [Output(url=audio_url, kind=MediaKind.AUDIO, needs_key=True)]
    times = as_object(item.get("alignments")).get("alignment")
    if (words := characters_transcript([times])) is not None:
        outputs.append(Output(url=inline_url(words), kind=MediaKind.TRANSCRIPT))
    return JobReport(
        state=JobState.COMPLETED,
        outputs=tuple(outputs),
        billed_units=_credits(item),
        charged=True,
    )


def _credits(item: Mapping[str, object]) -> str | None:
    before, after = (item.get(f"character_count_change_{side}") for side in ("from", "to"))
    if isinstance(before, int) and isinstance(after, int) and after >= before:
        return str(after - before)
    return None


def read_candidate(item: Mapping[str, object], setting_names: Sequence[str]) -> Candidate:
    """Return a history item as a candidate for a look-up.

    setting_names: of the voice settings that the model's requests have. The item may show more.
    """
    at = item.get("date_unix")
    sent_at = datetime.fromtimestamp(at, UTC) if isinstance(at, int) else None
    settings = as_object(item.get("settings"))
    return Candidate(
        job_id=as_job_id(item.get("request_id")),
        sent_at=sent_at,
        inputs=inputs_of(
            as_text(item.get("text")),
            as_text(item.get("voice_id")),
            as_text(item.get("model_id")),
            as_text(item.get("output_format")),
            {name: settings.get(name) for name in setting_names},
        ),
        listable_at=sent_at,
    )


def inputs_of(
    text: str, voice: str, model: str, output_format: str, settings: Mapping[str, object]
) -> Inputs:
    """Return what a request and its history item have in common, in a comparable form."""
    return Inputs.of(
        {
            "prompt": text,
            "voice": voice,
            "model": model,
            "format": output_format,
            "settings": dict(settings),
        }
    )
