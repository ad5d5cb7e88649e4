"""The outputs of fal's models: files, words and the further keys that each model documents."""

from collections.abc import Callable, Mapping
from typing import Any

from sandbox.jobs.charges import model_of
from sandbox.jobs.store import Job
from sandbox.settings import Json

_FILE_KEYS = ("url", "content_type", "file_name", "file_size")
_KEYS = {
    "images": ("url", "width", "height", "content_type"),
    "image": (*_FILE_KEYS, "width", "height"),
    "video": _FILE_KEYS,
    "audio": _FILE_KEYS,
}
_SPEAKER = {"speaker_id": "speaker_0"}


def output(job: Job, base_url: str) -> Json:
    """Return the model's own output."""
    model = model_of(job)
    values = {key: _ALSO[key](job) for key in model.also}
    also: Json = {key: value for key, value in values.items() if value is not None}
    if model.output == "transcript":
        return _transcript(job) | also
    files = [_file(item, base_url, _KEYS[model.output]) for item in job.outputs]
    if model.output == "images":
        return {"images": files} | also
    return {model.output: files[0] if files else None} | also


def _file(item: Json, base_url: str, keys: tuple[str, ...]) -> Json:
    known = {
        "url": f"{base_url}/files/{item['name']}",
        "content_type": item["content_type"],
        "file_name": item["name"],
        "file_size": item["bytes"],
        "width": item["width"],
        "height": item["height"],
    }
    return {key: known[key] for key in keys}


def _transcript(job: Job) -> Json:
    """Return the words with the spaces between them, as ElevenLabs does; {} for an empty output."""
    if job.data is None:
        return {}
    words: list[Json] = job.data["words"]
    parts: list[Json] = []
    for word in words:
        if parts:
            gap = {"text": " ", "start": parts[-1]["end"], "end": word["start"], "type": "spacing"}
            parts.append(gap | _SPEAKER)
        parts.append(word | {"type": "word"} | _SPEAKER)
    return {"text": " ".join(word["text"] for word in words), "words": parts}


def _seconds(job: Job) -> float:
    """Return the length of the output, or of the input of a transcript."""
    items = job.outputs or job.fetched
    return items[0]["seconds"] if items else 0


def _timestamps(job: Job) -> list[Json] | None:
    """Return the characters' times in parts of which the first is empty, as the vendor does."""
    times: list[tuple[str, float, float]] | None = (job.data or {}).get("alignment")
    if times is None:
        return None
    half = len(times) // 2
    return [_times([]), _times(times[:half]), _times(times[half:])]


def _times(part: list[tuple[str, float, float]]) -> Json:
    return {
        "characters": [character for character, _, _ in part],
        "character_start_times_seconds": [start for _, start, _ in part],
        "character_end_times_seconds": [end for _, _, end in part],
    }


_ALSO: Mapping[str, Callable[[Job], Any]] = {
    "actual_prompt": lambda job: job.input.get("prompt"),
    "description": lambda _: "",
    "duration": _seconds,
    "duration_ms": lambda job: round(_seconds(job) * 1000),
    "has_nsfw_concepts": lambda job: [job.fault("moderated") is not None for _ in job.outputs],
    "language_code": lambda job: job.input.get("language_code") or "eng",
    "language_probability": lambda _: 1.0,
    "prompt": lambda job: job.input["prompt"],
    "request_id": lambda job: job.id,
    "seed": lambda job: job.seed,
    "timestamps": _timestamps,
    "timings": lambda job: {"inference": round((job.ended_at or 0) - (job.started_at or 0), 4)},
}
"""The further keys; keys without a value are left out."""
