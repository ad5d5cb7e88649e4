"""Word times in vendors' answers, as the `transcript.json` of this service.

{"language": "en", "durationSeconds": 4.2, "words": [{"text", "start", "end", "speaker"?}]}
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.providers.http.responses import as_list, as_object, as_seconds, as_text

LETTER_SECONDS: Final = 0.08
"""Assumed for a word whose end is missing or wrong."""
_NO_WORDS: Final = frozenset({"spacing", "audio_event"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word as a vendor reports it. None: the vendor states no time."""

    text: str
    start: float | None
    end: float | None
    speaker: str | None = None


def words_transcript(answer: Mapping[str, object]) -> bytes | None:
    """Return the transcript of an answer with a list of words, None if it is no transcription."""
    listed = answer.get("words")
    if not isinstance(listed, list):
        return None
    words = [
        Word(
            text=as_text(item.get("text") or item.get("word")).strip(),
            start=as_seconds(item.get("start")),
            end=as_seconds(item.get("end")),
            speaker=_speaker(item.get("speaker_id", item.get("speaker"))),
        )
        for item in map(as_object, as_list(answer.get("words")))
        if item.get("type") not in _NO_WORDS
    ]
    duration = as_seconds(answer.get("audio_duration_secs", answer.get("duration")))
    language = as_text(answer.get("language_code")) or as_text(answer.get("language"))
    return encode_transcript([word for word in words if word.text], language, duration)


def characters_transcript(parts: Sequence[object], language: str = "") -> bytes | None:
    """Return the transcript of times of characters, None without times.

    parts: follow each other; each has three lists of the same length. Words are what spaces
    separate.
    """
    characters = [timed for part in parts for timed in _timed_characters(as_object(part))]
    if not characters:
        return None
    words: list[Word] = []
    is_new = True
    for character, start, end in characters:
        if not character.strip():
            is_new = True
        elif is_new:
            words.append(Word(text=character, start=start, end=end))
            is_new = False
        else:
            words[-1] = Word(text=words[-1].text + character, start=words[-1].start, end=end)
    duration = max((end for _, _, end in characters if end is not None), default=0.0)
    return encode_transcript(words, language, duration)


def _timed_characters(
    part: Mapping[str, object],
) -> Iterator[tuple[str, float | None, float | None]]:
    characters = [as_text(item) for item in as_list(part.get("characters"))]
    starts, ends = (
        [as_seconds(item) for item in as_list(part.get(f"character_{side}_times_seconds"))]
        for side in ("start", "end")
    )
    if len(characters) == len(starts) == len(ends):
        yield from zip(characters, starts, ends, strict=True)


def _speaker(value: object) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" else None


def encode_transcript(words: Sequence[Word], language: str, duration: float | None) -> bytes:
    """Return a transcript. Starts never go back, and each word ends before the next one starts.

    duration: of the audio, None for the end of the last word.
    """
    if duration is None:
        duration = max((word.end for word in words if word.end is not None), default=0.0)
    plain = {
        "language": language or None,
        "durationSeconds": round(duration, 3),
        "words": _corrected(words, duration),
    }
    return json.dumps(plain, ensure_ascii=False).encode()


def _corrected(words: Sequence[Word], duration: float) -> list[dict[str, object]]:
    begins: list[float] = []
    for word in words:
        earliest = begins[-1] if begins else 0.0
        begins.append(min(duration, max(earliest, earliest if word.start is None else word.start)))
    corrected: list[dict[str, object]] = []
    for number, word in enumerate(words):
        start, end = begins[number], word.end
        latest = begins[number + 1] if number + 1 < len(words) else duration
        if end is None or not start < end <= latest:
            end = min(latest, start + LETTER_SECONDS * len(word.text))
        plain: dict[str, object] = {
            "text": word.text,
            "start": round(start, 3),
            "end": round(end, 3),
        }
        corrected.append(plain if word.speaker is None else {**plain, "speaker": word.speaker})
    return corrected


def inline_url(transcript: bytes) -> str:
    """Return a transcript as a `data:` URI, the address of a file that no server has."""
    return f"data:application/json;base64,{base64.b64encode(transcript).decode()}"
