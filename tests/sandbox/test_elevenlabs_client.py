"""The unmodified elevenlabs client against the sandbox."""

import base64
from collections.abc import Iterator

import httpx
import pytest
from elevenlabs import VoiceSettings
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.core.request_options import RequestOptions

from tests.sandbox.process import VOICE, Sandbox

TEXT = "A red kite over the harbour."


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[ElevenLabs]:
    with httpx.Client(trust_env=False, timeout=30) as transport:
        yield ElevenLabs(
            base_url=f"{sandbox.url}/elevenlabs", api_key="sk_test", httpx_client=transport
        )


def test_elevenlabs_client_converts_and_finds_it_in_the_history(client: ElevenLabs) -> None:
    settings = VoiceSettings(stability=0.4, similarity_boost=0.8, speed=1.1)
    audio = b"".join(
        client.text_to_speech.convert(
            VOICE, text=TEXT, model_id="eleven_flash_v2_5", voice_settings=settings
        )
    )
    page = client.history.list(page_size=10, voice_id=VOICE, source="TTS")
    (item,) = page.history
    assert not page.has_more
    assert (item.text, item.voice_id, item.model_id) == (TEXT, VOICE, "eleven_flash_v2_5")
    assert item.settings is not None
    assert (item.settings["stability"], item.settings["speed"]) == (0.4, 1.1)
    assert item.alignments is not None
    assert item.alignments.alignment.characters == list(TEXT)
    assert b"".join(client.history.get_audio(item.history_item_id)) == audio


def test_elevenlabs_client_reads_timestamps(client: ElevenLabs) -> None:
    answer = client.text_to_speech.convert_with_timestamps(VOICE, text=TEXT)
    assert base64.b64decode(answer.audio_base_64)
    assert answer.alignment is not None
    assert answer.alignment.characters == list(TEXT)


def test_elevenlabs_client_streams(client: ElevenLabs) -> None:
    pieces = list(client.text_to_speech.stream(VOICE, text=TEXT))
    assert b"".join(pieces).startswith((b"ID3", b"\xff"))


def test_elevenlabs_client_reads_raw_headers(client: ElevenLabs) -> None:
    with client.text_to_speech.with_raw_response.convert(VOICE, text=TEXT) as answer:
        assert answer.headers["character-cost"] == str(len(TEXT))
        assert answer.headers["request-id"]
        b"".join(answer.data)


def test_elevenlabs_client_reads_account_and_catalogue(client: ElevenLabs) -> None:
    b"".join(client.text_to_speech.convert(VOICE, text=TEXT))
    assert client.user.subscription.get().character_count == len(TEXT)
    rates = {model.model_id: model.model_rates for model in client.models.list()}
    flash = rates["eleven_flash_v2_5"]
    assert flash is not None
    assert flash.character_cost_multiplier == 0.5
    assert client.voices.get(VOICE).voice_id == VOICE
    with pytest.raises(ApiError) as raised:
        client.voices.get("x" * 5)
    assert raised.value.body["detail"]["code"] == "voice_not_found"


def test_elevenlabs_client_repeats_a_refused_create(client: ElevenLabs, sandbox: Sandbox) -> None:
    """Its own retries are why this service does not use it for paid calls."""
    fault = sandbox.fault("answer_502_after_accept", provider="elevenlabs", times=1)
    client.text_to_speech.convert_with_timestamps(VOICE, text=TEXT)
    assert sandbox.fired(fault) == 1
    assert len(sandbox.bill()["lines"]) == 2


def test_elevenlabs_client_raises_the_vendors_errors(client: ElevenLabs) -> None:
    options = RequestOptions(max_retries=0)
    with pytest.raises(ApiError) as raised:
        client.text_to_speech.convert_with_timestamps("x" * 5, text=TEXT, request_options=options)
    assert raised.value.status_code == 404
    assert raised.value.body["detail"]["code"] == "voice_not_found"
