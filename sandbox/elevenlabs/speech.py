"""ElevenLabs' forms of speech: MP3 files, and the times of their characters."""

from functools import lru_cache

from sandbox.files import encoding
from sandbox.files.speech import alignment as aligned
from sandbox.files.speech import speak
from sandbox.settings import Json


@lru_cache(maxsize=64)
def speech(text: str, speed: float, output_format: str) -> bytes:
    """Return a text as an MP3 of an output format such as `mp3_44100_128`.

    It blocks: run it in a thread.
    """
    _, rate, kilobits = output_format.split("_")
    samples = speak(text, speed).samples
    return encoding.sound(samples, "mp3", rate=int(rate), bit_rate=int(kilobits) * 1000)


@lru_cache(maxsize=5_000)
def alignment(text: str, speed: float) -> Json:
    """Return the times of a text's characters in its audio, for every page of the history.

    It speaks the text: run it in a thread for the first time.
    """
    times = aligned(speak(text, speed).words, text)
    return {
        "characters": [character for character, _, _ in times],
        "character_start_times_seconds": [start for _, start, _ in times],
        "character_end_times_seconds": [end for _, _, end in times],
    }
