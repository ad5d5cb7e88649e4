"""Word times in vendors' answers become a transcript whose times are in order."""

import json
from typing import Any

import pytest

from core.domain.media.content import MediaKind, require_kind
from core.providers.transcripts import characters_transcript, words_transcript


def read(transcript: bytes | None) -> dict[str, Any]:
    assert transcript is not None
    assert require_kind(transcript, MediaKind.TRANSCRIPT) == "application/json"
    return json.loads(transcript)


def spoken(text: str, start: float | None, end: float | None, **more: object) -> dict[str, object]:
    return {"text": text, "start": start, "end": end, **more}


def test_spaces_and_events_are_no_words() -> None:
    answer = {
        "language_code": "eng",
        "words": [
            spoken("Low", 0.1, 0.4, type="word", speaker_id="speaker_1"),
            spoken(" ", 0.4, 0.5, type="spacing"),
            spoken("(laughs)", 0.5, 0.9, type="audio_event"),
            spoken("tide", 1, 1.5, type="word", speaker_id=0),
        ],
    }
    assert read(words_transcript(answer)) == {
        "language": "eng",
        "durationSeconds": 1.5,
        "words": [
            {"text": "Low", "start": 0.1, "end": 0.4, "speaker": "speaker_1"},
            {"text": "tide", "start": 1.0, "end": 1.5, "speaker": "0"},
        ],
    }


def test_missing_reversed_and_overlapping_times_are_corrected() -> None:
    words = [
        spoken("a", 0.0, None),  # no end: 0.08 s for each letter
        spoken("bc", 1.0, 0.5),  # ends before it starts
        spoken("d", 0.9, 3.0),  # starts before the word before it, ends after the next one starts
        spoken("e", 2.0, 99.0),  # ends after the audio
    ]
    transcript = read(words_transcript({"words": words, "duration": 2.5}))
    assert [(word["start"], word["end"]) for word in transcript["words"]] == [
        (0.0, 0.08),
        (1.0, 1.0),
        (1.0, 1.08),
        (2.0, 2.08),
    ]


def test_silence_is_a_transcript_without_words() -> None:
    transcript = read(words_transcript({"words": [], "text": "", "duration": 3}))
    assert transcript == {"language": None, "durationSeconds": 3.0, "words": []}


@pytest.mark.parametrize("answer", [{}, {"words": None}, {"words": "x"}, {"text": "x"}])
def test_answer_without_words_is_no_transcript(answer: dict[str, object]) -> None:
    assert words_transcript(answer) is None


def test_words_of_characters_continue_over_parts() -> None:
    def part(text: str, start: float) -> dict[str, object]:
        starts = [start + number / 10 for number in range(len(text))]
        return {
            "characters": list(text),
            "character_start_times_seconds": starts,
            "character_end_times_seconds": [each + 0.1 for each in starts],
        }

    parts = [part("Low ti", 0.0), part("", 0), part("de.", 0.6), {"characters": ["x"]}, None]
    transcript = read(characters_transcript(parts, "en"))
    assert [(word["text"], word["start"], word["end"]) for word in transcript["words"]] == [
        ("Low", 0.0, 0.3),
        ("tide.", 0.4, 0.9),
    ]
    assert characters_transcript([{"characters": [], "x": 1}, None]) is None
