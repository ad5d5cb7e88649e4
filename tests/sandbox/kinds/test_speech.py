"""Speech, its word times, and transcripts of it."""

import io
from itertools import pairwise

import av
import pytest

from sandbox.files import encoding, speech
from tests.sandbox.kinds.calls import (
    LONG_TEXT,
    SCRIBE,
    TEXT,
    VOICE,
    billed,
    clip,
    content,
    fal,
    lengths,
    picture,
    refused,
    replicate,
    voice,
)
from tests.sandbox.process import Sandbox


def test_length_of_speech_follows_its_text() -> None:
    short, long = speech.speak("word"), speech.speak("word " * 40)
    assert long.seconds > 5 * short.seconds
    assert speech.speak("word " * 40, 2.0).seconds < 0.7 * long.seconds
    assert all(one.seconds % 1 == 0.5 for one in (short, long)), "never close to a whole second"


@pytest.mark.parametrize("file_format", ["mp3", "wav"])
def test_encoded_speech_keeps_its_length(file_format: str) -> None:
    spoken = speech.speak(TEXT)
    file = encoding.sound(spoken.samples, file_format)
    with av.open(io.BytesIO(file), "r") as container:
        assert container.format.name == file_format
    assert lengths(file)["audio"] == pytest.approx(spoken.seconds, abs=0.03)


@pytest.mark.parametrize("text", [TEXT, "  two\nlines — “and” 漢字 ", "a", "…"])
def test_alignment_has_every_character_in_order(text: str) -> None:
    times = speech.alignment(speech.speak(text).words, text)
    assert "".join(character for character, _, _ in times) == text
    assert all(start <= end for _, start, end in times)
    assert all(one[2] <= other[1] + 0.002 for one, other in pairwise(times))


def test_speech_without_words_is_silent() -> None:
    spoken = speech.speak("   ")
    assert spoken.words == ()
    assert "".join(character for character, _, _ in speech.alignment((), "   ")) == "   "
    assert speech.transcribe(spoken.samples) == []


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.2])
def test_words_are_found_in_encoded_sound(speed: float) -> None:
    spoken = speech.speak(TEXT, speed)
    heard = speech.transcribe(encoding.samples_of(encoding.sound(spoken.samples, "mp3")))
    assert [word.text for word in heard] == TEXT.split()
    for word, found in zip(spoken.words, heard, strict=True):
        assert found.start == pytest.approx(word.start, abs=0.03)
        assert found.end == pytest.approx(word.end, abs=0.03)


def test_unknown_speech_gets_words_of_its_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = speech.speak("unheard of")
    monkeypatch.setattr(speech, "_spoken", {})
    assert [len(word.text) for word in speech.transcribe(spoken.samples)] == [7, 2]


def test_fal_speech_has_times_and_is_billed_by_characters(quick: Sandbox) -> None:
    result = fal(quick, VOICE, text=TEXT, timestamps=True)
    assert billed(quick) == (len(TEXT) / 1000, len(TEXT) * 50_000)
    file = content(quick, result["audio"]["url"])
    assert (result["audio"]["content_type"], len(file)) == (
        "audio/mpeg",
        result["audio"]["file_size"],
    )
    parts = result["timestamps"]
    assert parts[0]["characters"] == []
    assert "".join(character for part in parts for character in part["characters"]) == TEXT
    assert parts[-1]["character_end_times_seconds"][-1] < lengths(file)["audio"]
    assert "timestamps" not in fal(quick, VOICE, text=TEXT)


def test_header_reports_thousands_of_characters(quick: Sandbox) -> None:
    answer = quick.fal_result(quick.submit(VOICE, text="x" + " " * 1233))
    assert answer.headers["x-fal-billable-units"] == "1.234"


@pytest.mark.parametrize(
    ("order", "kind", "loc"),
    [
        ({}, "missing", ["body", "text"]),
        ({"text": "x" * 40_001}, "string_too_long", ["body", "text"]),
        ({"text": "x", "speed": 2}, "less_than_equal", ["body", "speed"]),
    ],
)
def test_invalid_speech_is_rejected(
    quick: Sandbox, order: dict[str, object], kind: str, loc: list[str]
) -> None:
    detail = refused(quick, VOICE, **order)
    assert (detail["type"], detail["loc"]) == (kind, loc)


def test_nested_settings_are_checked_and_used(quick: Sandbox) -> None:
    model = "fal-ai/minimax/speech-2.8-hd"
    slow, fast = (
        fal(quick, model, prompt=LONG_TEXT, voice_setting={"speed": speed})["duration_ms"]
        for speed in (0.5, 2)
    )
    assert slow > 3 * fast
    detail = refused(quick, model, prompt=TEXT, voice_setting={"speed": 9})
    assert detail["loc"] == ["body", "voice_setting", "speed"]


def test_replicate_speech_is_billed_by_characters(quick: Sandbox) -> None:
    done = replicate(quick, "minimax/speech-2.6-turbo", text=TEXT, audio_format="wav")
    assert billed(quick) == (0.04, 2_400_000)
    assert done["metrics"]["character_input_count"] == 40
    assert content(quick, done["output"]).startswith(b"RIFF")


def test_transcript_has_the_spoken_words(quick: Sandbox) -> None:
    result = fal(quick, SCRIBE, audio_url=voice(quick))
    assert result["text"] == TEXT
    words = [word for word in result["words"] if word["type"] == "word"]
    assert [word["text"] for word in words] == TEXT.split()
    assert "".join(word["text"] for word in result["words"]) == TEXT
    assert all(one["end"] <= other["start"] for one, other in pairwise(result["words"]))


def test_transcript_is_billed_by_started_minutes(quick: Sandbox) -> None:
    fal(quick, "xai/speech-to-text/v1", audio_url=voice(quick))
    assert billed(quick) == (1, 1_667_000)


def test_sound_of_a_video_is_transcribed(quick: Sandbox) -> None:
    head = fal(
        quick, "veed/fabric-1.0", image_url=picture(quick), audio_url=voice(quick), resolution="480p"
    )  # fmt: skip
    assert fal(quick, SCRIBE, audio_url=head["video"]["url"])["text"] == TEXT


def test_file_without_sound_is_no_audio(quick: Sandbox) -> None:
    silent = clip(quick, generate_audio=False)
    detail = refused(quick, SCRIBE, audio_url=silent)
    assert (detail["type"], detail["loc"]) == ("unsupported_audio_format", ["body", "audio_url"])
    assert quick.bill()["lines"][-1]["billed_nano_usd"] == 0
