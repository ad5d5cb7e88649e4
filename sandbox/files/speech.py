"""Speech as bursts of tones: one burst per word, so that words and their times can be verified.

A burst is as long as its word has letters. A transcription measures the bursts, so it also works
on audio that was cut out of a video or encoded again.
"""

import array
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

SAMPLE_RATE = 22_050
"""Of all sound here: one channel of 16-bit samples."""
LETTER_SECONDS = 0.06
GAP_SECONDS = 0.08
LEAD_SECONDS = 0.1
FADE_SECONDS = 0.004
LOUDEST = 9_000
TONES = (330, 392, 440, 494, 523, 587, 659, 698)
_STEP_SECONDS = 0.01
_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True)
class Word:
    """A spoken word and its start and end in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Speech:
    """A spoken text: its samples, its words and its length."""

    samples: bytes
    words: tuple[Word, ...]
    seconds: float


_spoken: dict[tuple[int, ...], str] = {}
"""Recently spoken texts by the lengths of their words."""


@lru_cache(maxsize=8)
def speak(text: str, speed: float = 1.0) -> Speech:
    """Return the speech of a text.

    It lasts half a second more than a whole number, so that started seconds are counted alike
    whatever a container adds.
    """
    words: list[Word] = []
    at = LEAD_SECONDS
    for part in text.split():
        end = at + len(part) * LETTER_SECONDS / speed
        words.append(Word(part, round(at, 3), round(end, 3)))
        at = end + GAP_SECONDS / speed
    seconds = math.ceil(at - 0.5) + 0.5
    _remember(text)
    return Speech(_samples(words, seconds), tuple(words), seconds)


def _remember(text: str) -> None:
    lengths = tuple(len(part) for part in text.split())
    _spoken.pop(lengths, None)
    _spoken[lengths] = text
    if len(_spoken) > _REMEMBERED:
        del _spoken[next(iter(_spoken))]


def _samples(words: Sequence[Word], seconds: float) -> bytes:
    sound = bytearray(2 * round(seconds * SAMPLE_RATE))
    for number, word in enumerate(words):
        burst = _burst(TONES[number % len(TONES)], round((word.end - word.start) * SAMPLE_RATE))
        start = 2 * round(word.start * SAMPLE_RATE)
        sound[start : start + len(burst)] = burst
    return bytes(sound)


@lru_cache(maxsize=256)
def _burst(hertz: int, length: int) -> bytes:
    """Return a tone that fades in and out, so that encoders do not blur its edges."""
    second = _second(hertz)
    burst = (second * math.ceil(length / len(second)))[:length]
    fade = min(length // 2, round(FADE_SECONDS * SAMPLE_RATE))
    for index in range(fade):
        burst[index] = burst[index] * index // fade
        burst[-1 - index] = burst[-1 - index] * index // fade
    return burst.tobytes()


@lru_cache(maxsize=len(TONES))
def _second(hertz: int) -> "array.array[int]":
    """Return one second of a tone, which holds whole waves and so can be repeated."""
    waves = (math.sin(math.tau * hertz * index / SAMPLE_RATE) for index in range(SAMPLE_RATE))
    return array.array("h", (round(LOUDEST * wave) for wave in waves))


def tone(seconds: float) -> bytes:
    """Return the samples of a steady tone, the sound track of a video."""
    return _burst(TONES[0], round(seconds * SAMPLE_RATE))


def alignment(words: Sequence[Word], text: str) -> list[tuple[str, float, float]]:
    """Return each character with its start and end.

    The characters of a word, and those between two words, share their time.
    """
    times: list[tuple[str, float, float]] = []
    place, end = 0, 0.0
    for word in words:
        begin = text.index(word.text, place)
        times += _shared(text[place:begin], end, word.start)
        times += _shared(word.text, word.start, word.end)
        place, end = begin + len(word.text), word.end
    return times + _shared(text[place:], end, end)


def _shared(characters: str, start: float, end: float) -> list[tuple[str, float, float]]:
    share = (end - start) / max(1, len(characters))
    return [
        (character, round(start + number * share, 3), round(start + (number + 1) * share, 3))
        for number, character in enumerate(characters)
    ]


def transcribe(samples: bytes) -> list[Word]:
    """Return the words of a speech: those of a remembered text, else of words as long."""
    bursts = _bursts(array.array("h", samples))
    lengths = [end - start for start, end in bursts]
    text = _remembered(lengths)
    parts = text.split() if text else [_stand_in(length) for length in lengths]
    return [Word(part, start, end) for part, (start, end) in zip(parts, bursts, strict=True)]


def _bursts(samples: "array.array[int]") -> list[tuple[float, float]]:
    """Return start and end of each loud part, in seconds."""
    step = round(_STEP_SECONDS * SAMPLE_RATE)
    levels = [max(samples[at : at + step]) for at in range(0, len(samples), step)]
    threshold = max(300, max(levels, default=0) // 5)
    bursts: list[tuple[float, float]] = []
    start: int | None = None
    for number, level in enumerate([*levels, 0]):
        if level >= threshold and start is None:
            start = number
        elif level < threshold and start is not None:
            bursts.append((round(start * step / SAMPLE_RATE, 3), round(number * step / SAMPLE_RATE, 3)))  # fmt: skip
            start = None
    return bursts


def _remembered(lengths: Sequence[float]) -> str | None:
    """Return the latest spoken text whose words have these lengths, at any speed."""
    for letters, text in reversed(_spoken.items()):
        if len(letters) != len(lengths) or not letters:
            continue
        letter = sum(lengths) / sum(letters)
        if all(
            abs(length - count * letter) < 2.5 * _STEP_SECONDS
            for length, count in zip(lengths, letters, strict=True)
        ):
            return text
    return None


def _stand_in(seconds: float) -> str:
    letters = max(1, min(40, round(seconds / LETTER_SECONDS)))
    return ("word" * 10)[:letters]
