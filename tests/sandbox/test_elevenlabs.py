"""ElevenLabs' wire format, bill and faults in the sandbox."""

import base64
import io
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx
import pytest

from sandbox.files import encoding
from sandbox.files.speech import speak, transcribe
from tests.sandbox.process import ELEVENLABS, VOICE, Sandbox

TEXT = "The quick brown fox jumps over the lazy dog, again and again."
FLASH = "eleven_flash_v2_5"


def seconds_of(audio: bytes) -> float:
    with av.open(io.BytesIO(audio), "r") as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples / frame.sample_rate for frame in frames)


def test_speech_length_follows_the_text(sandbox: Sandbox) -> None:
    answer = sandbox.speak(TEXT)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert seconds_of(answer.content) == pytest.approx(speak(TEXT).seconds, abs=0.15)
    slow = sandbox.speak(TEXT, voice_settings={"speed": 0.7})
    assert seconds_of(slow.content) == pytest.approx(speak(TEXT, 0.7).seconds, abs=0.15)
    assert seconds_of(slow.content) > 1.2 * seconds_of(answer.content)


def test_timestamps_match_text_and_audio(sandbox: Sandbox) -> None:
    answer = sandbox.speak(TEXT, "/with-timestamps").json()
    times = answer["alignment"]
    assert times["characters"] == list(TEXT)
    spoken = speak(TEXT)
    heard = transcribe(encoding.samples_of(base64.b64decode(answer["audio_base64"])))
    assert " ".join(word.text for word in heard) == TEXT
    ends = times["character_end_times_seconds"]
    assert ends[-1] == spoken.words[-1].end == pytest.approx(heard[-1].end, abs=0.03)


@pytest.mark.parametrize(
    ("model", "credits_", "nano"),
    [("eleven_multilingual_v2", 61, 6_100_000), (FLASH, 31, 3_050_000)],
)
def test_price_list_bills_characters(
    sandbox: Sandbox, model: str, credits_: int, nano: int
) -> None:
    answer = sandbox.speak(TEXT, model_id=model)
    assert int(answer.headers["character-cost"]) == credits_
    (line,) = sandbox.bill()["lines"]
    assert line["provider_job_id"] == answer.headers["request-id"]
    assert (line["billed_nano_usd"], line["price_nano_usd"]) == (nano, nano)
    assert line["billable_units"] == credits_


def test_plan_price_bills_whole_discounted_credits(sandbox: Sandbox) -> None:
    sandbox.set(elevenlabs_usd_per_credit=0.00015, elevenlabs_discount=0.55)
    answer = sandbox.speak(TEXT)
    assert answer.headers["character-cost"] == "34"  # 33.55
    assert sandbox.bill()["total_nano_usd"] == 34 * 150_000


def test_history_shows_item_with_its_credits_and_audio(sandbox: Sandbox) -> None:
    first = sandbox.speak("One.")
    second = sandbox.speak(TEXT, model_id=FLASH, voice_settings={"stability": 0.4})
    newest, oldest = sandbox.history()["history"]
    assert oldest["request_id"] == first.headers["request-id"]
    assert newest["request_id"] == second.headers["request-id"]
    assert (newest["text"], newest["voice_id"], newest["model_id"]) == (TEXT, VOICE, FLASH)
    assert newest["settings"]["stability"] == 0.4
    assert newest["output_format"] == "mp3_44100_128"
    assert newest["character_count_change_from"] == oldest["character_count_change_to"] == 4
    assert newest["character_count_change_to"] == 35
    audio = sandbox.client.get(
        f"/elevenlabs/v1/history/{newest['history_item_id']}/audio", headers=ELEVENLABS
    )
    assert audio.content == second.content
    without_key = sandbox.client.get(f"/elevenlabs/v1/history/{newest['history_item_id']}/audio")
    assert without_key.json()["detail"]["code"] == "missing_api_key"


def test_history_filters_and_pages(sandbox: Sandbox) -> None:
    for number in range(3):
        sandbox.speak(f"Number {number}.")
    sandbox.speak("Other voice.", voice="21m00Tcm4TlvDq8ikWAM")
    page = sandbox.history(page_size=2, voice_id=VOICE, source="TTS")
    assert [item["text"] for item in page["history"]] == ["Number 2.", "Number 1."]
    assert page["has_more"]
    rest = sandbox.history(
        page_size=2, voice_id=VOICE, start_after_history_item_id=page["last_history_item_id"]
    )
    assert [item["text"] for item in rest["history"]] == ["Number 0."]
    assert not rest["has_more"]
    assert len(sandbox.history(search="other")["history"]) == 1
    assert not sandbox.history(date_after_unix=int(time.time()) + 60)["history"]
    assert not sandbox.history(date_before_unix=int(time.time()) - 60)["history"]
    assert not sandbox.history(source="STS")["history"]


def test_history_lags_and_loses_items(sandbox: Sandbox) -> None:
    lost = sandbox.fault("unlisted", provider="elevenlabs")
    sandbox.speak("Lost.")
    sandbox.set(history_lag_seconds=0.3)
    sandbox.speak("Late.")
    assert not sandbox.history()["history"]
    assert sandbox.fired(lost) == 1
    sandbox.wait_until(lambda: len(sandbox.history()["history"]) == 1)
    assert sandbox.history()["history"][0]["text"] == "Late."


def test_unlisted_item_appears_after_its_seconds(sandbox: Sandbox) -> None:
    late = sandbox.fault("unlisted", provider="elevenlabs", params={"seconds": 0.5})
    sandbox.speak("Late.")
    assert not sandbox.history()["history"]
    assert sandbox.fired(late) == 1
    sandbox.wait_until(lambda: len(sandbox.history()["history"]) == 1)


@pytest.mark.parametrize(
    ("text", "body", "status", "code"),
    [
        ("", {}, 400, "empty_text"),
        ("a" * 10_001, {}, 400, "text_too_long"),
        ("a", {"model_id": "eleven_v9"}, 400, "unsupported_model"),
        ("a", {"voice": "missing"}, 404, "voice_not_found"),
        ("a", {"voice_settings": {"speed": 3}}, 400, "invalid_voice_settings"),
        ("a", {"headers": {"xi-api-key": ""}}, 401, "missing_api_key"),
    ],
)
def test_invalid_requests_are_not_billed(
    sandbox: Sandbox, text: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = sandbox.speak(text, **body)
    assert (answer.status_code, answer.json()["detail"]["code"]) == (status, code)
    assert not sandbox.bill()["lines"]


def test_wrong_type_gets_422_in_list_form(sandbox: Sandbox) -> None:
    answer = sandbox.speak("a", voice_settings={"speed": "fast"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "voice_settings", "speed"]


def test_denied_voice_is_shown_and_refused(sandbox: Sandbox) -> None:
    sandbox.set(elevenlabs_denied_voices=[VOICE])
    shown = sandbox.client.get(f"/elevenlabs/v1/voices/{VOICE}", headers=ELEVENLABS)
    refused = sandbox.speak("a")
    assert (shown.status_code, refused.status_code) == (200, 403)
    assert refused.json()["detail"]["code"] == "voice_access_denied"
    assert not sandbox.bill()["lines"]


def test_calls_above_the_concurrency_limit_get_429(sandbox: Sandbox) -> None:
    sandbox.set(elevenlabs_concurrent=1, speech_seconds=0.4)
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(sandbox.speak, ["One.", "Two."]))
    assert sorted(answer.status_code for answer in answers) == [200, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["detail"]["code"] == "concurrent_limit_exceeded"
    assert len(sandbox.bill()["lines"]) == 1


def test_refusals_have_old_and_new_forms(sandbox: Sandbox) -> None:
    sandbox.fault("refuse", params={"status": 401, "code": "quota_exceeded", "form": "old"})
    old = sandbox.speak("a")
    assert (old.status_code, old.json()["detail"]["status"]) == (401, "quota_exceeded")
    assert "code" not in old.json()["detail"]
    sandbox.fault("refuse", params={"status": 402})
    assert sandbox.speak("a").json()["detail"]["code"] == "insufficient_credits"
    sandbox.fault("refuse_429", params={"code": "system_busy"})
    assert sandbox.speak("a").json()["detail"]["code"] == "system_busy"
    assert not sandbox.bill()["lines"]


def read_into(body: bytearray, answer: httpx.Response) -> None:
    for part in answer.iter_raw():
        body += part


@pytest.mark.parametrize("how", ["", "/stream", "/with-timestamps"])
@pytest.mark.parametrize("after", ["head", "middle"])
def test_cut_body_is_billed_and_listed(sandbox: Sandbox, how: str, after: str) -> None:
    fault = sandbox.fault("cut_body", provider="elevenlabs", params={"after": after})
    body = bytearray()
    path = f"/elevenlabs/v1/text-to-speech/{VOICE}{how}"
    with sandbox.client.stream("POST", path, json={"text": TEXT}, headers=ELEVENLABS) as answer:
        request_id = answer.headers["request-id"]
        with pytest.raises(httpx.RemoteProtocolError):
            read_into(body, answer)
    assert sandbox.fired(fault) == 1
    assert bool(body) == (after == "middle")
    (item,) = sandbox.history()["history"]
    assert item["request_id"] == request_id
    assert len(sandbox.bill()["lines"]) == 1


def test_call_is_held_after_its_head(sandbox: Sandbox) -> None:
    fault = sandbox.fault("hold", params={"stage": "after_head"})
    path = f"/elevenlabs/v1/text-to-speech/{VOICE}"
    with sandbox.client.stream("POST", path, json={"text": "a"}, headers=ELEVENLABS) as answer:
        assert answer.headers["request-id"]
        control = httpx.Client(base_url=sandbox.control_url, trust_env=False)
        with control:
            assert control.post("/release", json={"id": fault}).status_code == 200
        assert answer.read().startswith((b"ID3", b"\xff"))


def test_billed_speech_survives_a_kill(sandbox: Sandbox) -> None:
    answer = sandbox.speak(TEXT)
    sandbox.stop(signal.SIGKILL)
    sandbox.start()
    assert sandbox.bill()["lines"][0]["provider_job_id"] == answer.headers["request-id"]
    assert sandbox.history()["history"][0]["text"] == TEXT
