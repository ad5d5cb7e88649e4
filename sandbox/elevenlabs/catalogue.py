"""ElevenLabs' speech models, their limits, credits and prices, and the checks of a request.

Limits as the vendor publishes them, prices per 1,000 characters (read 2026-06 to 2026-11).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import Any, Final

from sandbox.settings import Json, Settings, as_object

NANO_PER_USD: Final = 1_000_000_000
VOICE: Final = re.compile(r"[A-Za-z0-9]{20}")
FORMAT: Final = re.compile(r"mp3_(22050|24000|44100)_(32|48|64|96|128|192)")
DEFAULT_MODEL: Final = "eleven_multilingual_v2"
DEFAULT_FORMAT: Final = "mp3_44100_128"
DEFAULT_SETTINGS: Final[Mapping[str, Any]] = {
    "stability": 0.5,
    "similarity_boost": 0.75,
    "style": 0.0,
    "use_speaker_boost": True,
    "speed": 1.0,
}
RANGES: Final = {
    "stability": (0.0, 1.0),
    "similarity_boost": (0.0, 1.0),
    "style": (0.0, 1.0),
    "speed": (0.7, 1.2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechModel:
    """A speech model. multiplier: credits per character before any discount."""

    name: str
    max_characters: int
    multiplier: Decimal
    character_nano_usd: int
    group: str
    steps: tuple[float, ...] = ()  # the values that its stability accepts; empty: the whole range


MODELS: Final = {
    model.name: model
    for model in (
        SpeechModel(
            name="eleven_multilingual_v2", max_characters=10_000, multiplier=Decimal(1),
            character_nano_usd=100_000, group="standard",
        ),
        SpeechModel(
            name="eleven_flash_v2_5", max_characters=40_000, multiplier=Decimal("0.5"),
            character_nano_usd=50_000, group="turbo",
        ),
        SpeechModel(
            name="eleven_turbo_v2_5", max_characters=40_000, multiplier=Decimal("0.5"),
            character_nano_usd=50_000, group="turbo",
        ),
        SpeechModel(
            name="eleven_v3", max_characters=5_000, multiplier=Decimal(1),
            character_nano_usd=100_000, group="standard", steps=(0.0, 0.5, 1.0),
        ),
    )
}  # fmt: skip


class RequestError(ValueError):
    """The vendor rejects the request. code: of its own errors; fields: of a 422 in list form."""

    def __init__(self, status: int, code: str, message: str, fields: tuple[Json, ...] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.fields = status, code, message, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """A valid request."""

    model: SpeechModel
    voice: str
    text: str
    output_format: str
    settings: Json

    @property
    def speed(self) -> float:
        return float(self.settings["speed"])

    def credits(self, settings: Settings) -> int:
        """Return the charged credits: whole ones, at least one."""
        exact = len(self.text) * self.model.multiplier * Decimal(str(settings.elevenlabs_discount))
        return max(1, int(exact.quantize(Decimal(1), ROUND_HALF_UP)))

    def nano_usd(self, settings: Settings) -> int:
        """Return the bill: by the plan's price of a credit, without one by the price list."""
        per_credit = Decimal(str(settings.elevenlabs_usd_per_credit)) * NANO_PER_USD
        if not per_credit:
            return len(self.text) * self.model.character_nano_usd
        return int((self.credits(settings) * per_credit).quantize(Decimal(1), ROUND_CEILING))


def checked_speech(voice: str, query: Mapping[str, str], body: Any) -> Speech:
    """Return a request's speech. Raise RequestError."""
    plain = as_object(body)
    if plain is None:
        raise _invalid("model_attributes_type", ["body"], "Input should be a valid dictionary")
    text = plain.get("text")
    if not isinstance(text, str):
        kind = "missing" if text is None else "string_type"
        raise _invalid(kind, ["body", "text"], "Field required")
    if not VOICE.fullmatch(voice):
        raise RequestError(404, "voice_not_found", f"A voice with voice_id {voice} was not found.")
    model = MODELS.get(str(plain.get("model_id") or DEFAULT_MODEL))
    if model is None:
        raise RequestError(400, "unsupported_model", "A model with this model ID does not exist.")
    if not text:
        raise RequestError(400, "empty_text", "The text is empty.")
    if len(text) > model.max_characters:
        raise RequestError(
            400, "text_too_long", f"The text exceeds {model.max_characters} characters."
        )
    output_format = query.get("output_format", DEFAULT_FORMAT)
    if not FORMAT.fullmatch(output_format):
        raise RequestError(400, "invalid_parameters", f"Unknown output format {output_format}.")
    return Speech(
        model=model, voice=voice, text=text, output_format=output_format,
        settings=_checked_settings(model, plain.get("voice_settings")),
    )  # fmt: skip


def _checked_settings(model: SpeechModel, requested: Any) -> Json:
    plain = as_object(requested or {})
    if plain is None:
        raise _invalid("model_attributes_type", ["body", "voice_settings"], "Not an object")
    for name, (least, most) in RANGES.items():
        value = plain.get(name)
        if value is None:
            continue
        place = ["body", "voice_settings", name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _invalid("float_type", place, "Input should be a valid number")
        if not least <= value <= most:
            raise RequestError(
                400, "invalid_voice_settings", f"{name} must be between {least} and {most}."
            )
    stability = plain.get("stability")
    if model.steps and stability is not None and stability not in model.steps:
        raise RequestError(400, "invalid_voice_settings", "stability must be 0.0, 0.5 or 1.0.")
    return {
        **DEFAULT_SETTINGS,
        **{name: value for name, value in plain.items() if value is not None},
    }


def _invalid(kind: str, place: list[str], message: str) -> RequestError:
    return RequestError(422, kind, message, ({"type": kind, "loc": place, "msg": message},))
